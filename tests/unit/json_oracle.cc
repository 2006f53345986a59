// proto/json against simdjson: the same documents are accepted and refused, whatever they look
// like.
//
// Documents are generated, mutated byte by byte, cut and joined; both judge each. Where simdjson is
// known to judge otherwise by intent, the document is left out: it refuses numbers that do not fit
// 64 bits or a double (RFC 8259 sets no range), and newer versions skip a byte order mark.
//
// The seed is printed when something differs, and can be given as the first argument.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>
#include <string>

#include <simdjson.h>

extern "C" {
#include "proto/json.h"
}

namespace
{

constexpr int ROUNDS = 60000;
constexpr int MUTATIONS = 6;

using Random = std::mt19937_64;

size_t pick(Random &random, size_t count)
{
	return static_cast<size_t>(random() % count);
}

const char *const SCALARS[] = {"0", "-0", "1", "-1.5", "1e5", "2E-3", "1.25e+2", "true", "false",
	"null", "\"\"", "\"a\"", "\"\\u0041\"", "\"\\ud83d\\ude00\"", "\"\\n\\t\\\"\\\\\\/\"",
	"\"\xc3\xa9\"", "\"\xe2\x82\xac\"", "\"\xf0\x9f\x98\x80\"",
	"\"a longer text that is wider than one block of the scanner, and then some\"",
	"\"text with an escape \\\" after sixteen bytes, and \\u00e9 after more of them\""};
const char *const KEYS[] = {
	"\"a\"", "\"event\"", "\"type\"", "\"\"", "\"\\u0065vent\"", "\"data\""};
const char *const SPACES[] = {"", "", "", " ", "\n", "\t\r ", "                     "};
const char *const PIECES[] = {",", ":", "{", "}", "[", "]", "\"", "\\", "\\u", "\\ud800", "\\udc00",
	"\x80", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff", "\x01", "0", "-", ".", "e",
	"+", "tru", "nul", " ", "\n", "//", "'", "\x7f", "\xef\xbb\xbf"};

template <size_t N> const char *any(Random &random, const char *const (&list)[N])
{
	return list[pick(random, N)];
}

std::string make_value(Random &random, int depth)
{
	size_t shape = depth > 0 ? pick(random, 4) : 3;
	if (shape > 1)
		return any(random, SCALARS);
	std::string out = shape == 0 ? "{" : "[";
	for (size_t i = 0, count = pick(random, 5); i < count; i++) {
		out += i > 0 ? "," : "";
		out += any(random, SPACES);
		if (shape == 0)
			out += std::string(any(random, KEYS)) + any(random, SPACES) + ":" +
			       any(random, SPACES);
		out += make_value(random, depth - 1) + any(random, SPACES);
	}
	return out + (shape == 0 ? "}" : "]");
}

void mutate(Random &random, std::string &text)
{
	size_t at = pick(random, text.size() + 1);
	switch (pick(random, 5)) {
	case 0:
		text.insert(at, any(random, PIECES));
		break;
	case 1:
		text.erase(at, 1 + pick(random, 3));
		break;
	case 2:
		if (at < text.size())
			text[at] = static_cast<char>(pick(random, 256));
		break;
	case 3:
		text.resize(at);
		break;
	default:
		text.insert(at, text.substr(pick(random, text.size() + 1), pick(random, 20)));
		break;
	}
}

// Whether both say the same of it, or have reason not to.
bool agree(simdjson::dom::parser &parser, const std::string &text)
{
	json_event_info info;
	int r = json_check_event(
		reinterpret_cast<const uint8_t *>(text.data()), text.size(), &info);
	simdjson::dom::element element;
	auto error = parser.parse(text).get(element);
	if (error == simdjson::NUMBER_ERROR)
		return true;
	if (text.compare(0, 3, "\xef\xbb\xbf") == 0)
		return r == JSON_INVALID;
	if ((r == JSON_INVALID) == (error != simdjson::SUCCESS))
		return true;
	std::printf("proto/json: %s; simdjson: %s\n%s\n",
		r == JSON_INVALID ? info.error.reason : "good", simdjson::error_message(error),
		text.c_str());
	return false;
}

bool depth_agrees(simdjson::dom::parser &parser)
{
	for (int depth = JSON_DEPTH_MAX - 2; depth <= JSON_DEPTH_MAX; depth++) {
		std::string text = std::string(static_cast<size_t>(depth), '[') +
				   std::string(static_cast<size_t>(depth), ']');
		if (!agree(parser, text))
			return false;
	}
	return true;
}

} // namespace

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? std::strtoull(argv[1], nullptr, 0)
				 : static_cast<uint64_t>(std::time(nullptr));
	Random random(seed);
	simdjson::dom::parser parser;
	bool good = depth_agrees(parser);
	for (int i = 0; i < ROUNDS && good; i++) {
		std::string text = std::string(any(random, SPACES)) + make_value(random, 5) +
				   any(random, SPACES);
		good = agree(parser, text);
		for (int j = 0; j < MUTATIONS && good; j++) {
			mutate(random, text);
			good = agree(parser, text);
		}
	}
	if (!good)
		std::printf(
			"repeat with: %s %llu\n", argv[0], static_cast<unsigned long long>(seed));
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
