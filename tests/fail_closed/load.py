"""What the workers of one case publish, and the policy under which it is watched.

Every event that can be delivered holds its number as data.n. What a viewer may not see holds MARK,
or is one of the secrets, which are split over the pieces of a text. What must not be withheld from
a viewer that gets what came before is that `verdict` that projection gives; it is not guessed here.
"""

import json

MARK = "marker-that-no-viewer-sees"
POISON = b"poison-that-ends-projection"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
BIG_BYTES = 200_000
HUGE_BYTES = 3_000_000

POLICY = json.dumps({
    "version": 1,
    "blocks": [
        {"delta": "text_delta", "text": "data.text", "done": "text_done"},
        {"delta": "command", "text": "data.content", "key": "data.id", "done": "command_done"}],
    "roles": {
        "operator": {"observe": [{"runtime": "*", "worker": "*"}], "events": {"allow": ["*"]}},
        "viewer": {
            "observe": [{"runtime": "*", "worker": "*"}],
            "events": {"allow": ["*"], "deny": ["thinking_*"]},
            "redact": [
                {"in": ["tool_result"], "path": "data.output", "action": "mask"},
                {"in": ["*"], "path": "**.cwd", "action": "rewrite_prefix",
                 "from": f"/srv/{MARK}", "to": "/workspace"},
                {"in": ["*"], "secrets": ["aws", "github", "anthropic", "private_key"],
                 "action": "mask"}]}}})


class Secret:
    """`text` is what nobody but an operator sees; it is in the events `numbers` of its worker."""

    def __init__(self, text):
        self.text, self.numbers = text, set()


class Worker:
    """The events of one worker so far: `payloads[n]` is the event of that number."""

    def __init__(self, worker_id, rng):
        self.worker_id, self._rng = worker_id, rng
        self.payloads, self.secrets = [], []
        self._block = []  # kind, key, pieces of a text that are still to come, and their secrets
        self._snapshot()

    def _add(self, text):
        self.payloads.append(text.encode())
        return self.payloads[-1]

    def _event(self, kind, **data):
        # White space, an escape and a number that printing again would change: payloads are bytes.
        data = json.dumps({"n": len(self.payloads), **data})
        return self._add('{"event": "%s","data":%s,  "f":1.10, "g":"\\u0041"}' % (kind, data))

    def _snapshot(self):
        return self._event("snapshot", cwd=f"/srv/{MARK}/build")

    def next(self):
        """The payload of the next event."""
        if self._block and self._rng.random() < 0.7:
            return self._piece()
        make = self._rng.choices(
            (self._status, self._thinking, self._result, self._begin_block, self._big,
             self._broken, self._between_blocks), (4, 2, 3, 3, 0.15, 0.15, 0.3))[0]
        return make()

    def _between_blocks(self):
        """What a reader takes up again after it has missed a piece."""
        return self._piece() if self._block else self._snapshot()

    def sentinel(self):
        return self._event("status", state="everybody sees this")

    def poison(self):
        """Often a piece of a text: then nobody knows what the pieces behind it go on with."""
        if self._block and self._rng.random() < 0.8:
            return self._piece(state=POISON.decode())
        return self._event("status", state=POISON.decode())

    def huge(self):
        return self._event("tool_result", output=MARK + self._rng.choice(LETTERS) * HUGE_BYTES)

    def _status(self):
        return self._event("status", state=self._letters(12), cwd=f"/srv/{MARK}/x")

    def _thinking(self):
        return self._event("thinking_delta", text=f"{MARK} {self._letters(20)}")

    def _result(self):
        return self._event("tool_result", output=f"{MARK} {self._letters(30)}", name="ls")

    def _big(self):
        return self._event("tool_result", output=MARK + "x" * self._rng.randrange(BIG_BYTES))

    def _broken(self):
        """Not JSON: projection refuses it, whoever asks."""
        return self._add('{"event": "status","data":{"n":%d,"broken":"%s",}}'
                         % (len(self.payloads), MARK))

    def _letters(self, count):
        return "".join(self._rng.choice(LETTERS) for _ in range(count))

    def _begin_block(self):
        if self._block:
            return self._piece()
        kind, key = self._rng.choice((("text_delta", None), ("command", "c1"), ("command", "c2")))
        pieces = []
        for _ in range(self._rng.randint(1, 3)):
            pieces += [(self._letters(8) + " ", None)] + self._split_secret()
        pieces.append((" and no more", None))
        self._block = [(kind, key, text, secret) for text, secret in pieces]
        self._block.append((kind, key, None, None))
        return self._piece()

    def _split_secret(self):
        head, length, tail = self._rng.choice((
            ("AKIA", 16, " "), ("ghp_", 36, "\n"), ("sk-ant-api03-", 40, "."),
            ("-----BEGIN PRIVATE KEY-----\n", 64, "\n-----END PRIVATE KEY-----\n")))
        body = self._letters(length)
        if head == "AKIA":
            body = body.upper()
        self.secrets.append(Secret(body))
        text = head + body + tail
        cuts = sorted(self._rng.randint(0, len(text)) for _ in range(self._rng.randint(0, 3)))
        return [(text[a:b], self.secrets[-1]) for a, b in zip([0, *cuts], [*cuts, len(text)])]

    def _piece(self, **more):
        kind, key, text, secret = self._block.pop(0)
        if secret is not None:
            secret.numbers.add(len(self.payloads))
        if kind == "command":
            return self._event("command_done", id=key, **more) if text is None else \
                self._event(kind, content=text, id=key, **more)
        return self._event("text_done", **more) if text is None else \
            self._event(kind, text=text, **more)


def text_of(event):
    """(which text of a worker, the piece) of a projected event; None where it has none."""
    data = event["data"]
    if event["event"] == "text_delta":
        return "text", data["text"]
    return (data["id"], data["content"]) if event["event"] == "command" else None
