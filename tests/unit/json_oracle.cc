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
#include <cstring>
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
constexpr int NASTY_ROUNDS = 200;

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

// What parsers get wrong, by the experience of others; each is judged, and mutated.
const std::string NASTY[] = {"", " ", "[", "]", "{", "}", "[[]", "[]]", "[1,]", "[,1]", "[1,,2]",
	"[1 2]", "[1:2]", "{\"a\":1,}", "{,}", "{\"a\"}", "{\"a\":}", "{:1}", "{\"a\" 1}", "{a:1}",
	"{'a':1}", "{1:1}", "{\"a\":1 \"b\":2}", "{\"a\":1}{", "{\"a\":1}#", "{}//x", "/**/{}",
	"[] []", "[]\f", "[\v]", "[\xc2\xa0]", "[\xe2\x81\xa0]", "[True]", "[nul]", "[nulll]",
	"[NaN]", "[Infinity]", "[-Infinity]", "[01]", "[-01]", "[-]", "[+1]", "[.5]", "[5.]",
	"[1.e1]", "[1e]", "[1e+]", "[0x1]", "[1_0]", "[1.5.2]", "[--1]", "[-0]", "[-0.0e-0]",
	"[0e+1]", "[1E400]", "[1e-400]", "[123456789012345678901234567890]", "[9007199254740993]",
	"[\"\\x00\"]", "[\"\\a\"]", "[\"\\\"]", "[\"\\u\"]", "[\"\\u00\"]", "[\"\\u00G0\"]",
	"[\"\\U0041\"]", "[\"\\ud800\"]", "[\"\\udc00\"]", "[\"\\ud800\\ud800\"]",
	"[\"\\ud800\\n\"]", "[\"\\ud800x\"]", "[\"\\udc00\\ud800\"]", "[\"\\udbff\\udfff\"]",
	"[\"\\uD834\\uDd1e\"]", "[\"\\u0000\"]", "[\"\\uffff\"]", "[\"\t\"]", "[\"\n\"]",
	"[\"\x1f\"]", "[\"\x7f\"]", "[\"\x80\"]", "[\"\xc0\x80\"]", "[\"\xc1\xbf\"]", "[\"\xc3\"]",
	"[\"\xe0\x80\x80\"]", "[\"\xed\x9f\xbf\"]", "[\"\xed\xa0\x80\"]", "[\"\xed\xbf\xbf\"]",
	"[\"\xef\xbf\xbf\"]", "[\"\xf0\x80\x80\x80\"]", "[\"\xf0\x9f\x98\"]",
	"[\"\xf4\x8f\xbf\xbf\"]", "[\"\xf4\x90\x80\x80\"]", "[\"\xf8\x88\x80\x80\x80\"]",
	"[\"\xfe\"]", "[\"\xff\"]", "[\"a", "[\"a\\", "[\"a\\\"", "\"", "\"a", "a", "null", "1",
	"\"\"", "\xef\xbb\xbf{}", "\xff\xfe{", "{\"a\":\"b\",\"a\":\"c\"}", "{\"\":{\"\":{}}}",
	"{\"\\u0000\":0}", std::string("[\0]", 3), std::string("[\"\0\"]", 5),
	std::string("[]\0", 3), std::string("\0[]", 3)};

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

// Newer versions have a code of its own for an integer of more than 64 bits.
bool is_refused_for_its_range(simdjson::error_code error)
{
	return error == simdjson::NUMBER_ERROR ||
	       std::strncmp(simdjson::error_message(error), "BIGINT_ERROR", 12) == 0;
}

// Whether both say the same of it, or have reason not to.
bool agree(simdjson::dom::parser &parser, const std::string &text)
{
	json_event_info info;
	int r = json_check_event(
		reinterpret_cast<const uint8_t *>(text.data()), text.size(), &info);
	simdjson::dom::element element;
	auto error = parser.parse(text).get(element);
	if (is_refused_for_its_range(error))
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

// Judges a text, and what becomes of it.
bool agree_on(simdjson::dom::parser &parser, Random &random, std::string text)
{
	bool good = agree(parser, text);
	for (int i = 0; i < MUTATIONS && good; i++) {
		mutate(random, text);
		good = agree(parser, text);
	}
	return good;
}

} // namespace

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? std::strtoull(argv[1], nullptr, 0)
				 : static_cast<uint64_t>(std::time(nullptr));
	Random random(seed);
	simdjson::dom::parser parser;
	bool good = depth_agrees(parser);
	for (const std::string &text : NASTY) {
		good = good && agree(parser, text) && agree(parser, "{\"a\":" + text + "}");
		for (int i = 0; i < NASTY_ROUNDS && good; i++)
			good = agree_on(parser, random, text);
	}
	for (int i = 0; i < ROUNDS && good; i++)
		good = agree_on(parser, random,
			std::string(any(random, SPACES)) + make_value(random, 5) +
				any(random, SPACES));
	if (!good)
		std::printf(
			"repeat with: %s %llu\n", argv[0], static_cast<unsigned long long>(seed));
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
