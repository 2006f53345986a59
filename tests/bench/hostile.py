"""Events made to be slow for projection: texts in which something seems to begin at every place,
and events in which rules match everywhere. Each grows with the size asked for, and its cost must do no
more than that."""
import json

import planted

DEPTH = 120


def rules(*redact):
    return json.dumps({"version": 1, "roles": {"viewer": {
        "observe": [{"runtime": "*", "worker": "*"}], "events": {"allow": ["*"], "deny": ["x*y*z"]},
        "redact": list(redact)}}})


def remove(path):
    return {"in": ["*"], "path": path, "action": "remove"}


def mask(path):
    return {"in": ["*"], "path": path, "action": "mask", "with": "M"}


def event(kind, data):
    return f'{{"event":"{kind}","data":{data}}}'


def fill(part, size, separator=","):
    return separator.join([part] * max(1, size // (len(part) + len(separator))))


# ---- texts: with all secret sets ----

TEXTS = {
    "headers of JWT": "eyJ",
    "parts of JWT": "eyJhbGciOiJIUzI1NiJ9.",
    "dots of JWT": "eyJaaaaaaaaaaa.eyJa..",
    "prefixes of keys": "sk-proj-",
    "prefixes of several kinds of keys": "xoxb-sk-ant-glpat-",
    "keys of AWS": "AKIA",
    "opening lines of private keys": "-----BEGIN PRIVATE KEY-----",
    "halves of opening lines": "-----BEGIN RSA PRIVATE ",
    "private keys": "-----BEGIN PRIVATE KEY-----x-----END PRIVATE KEY-----",
    "closing lines that do not end": "-----BEGIN PRIVATE KEY----------END ",
    "assignments": "token=",
    "assignments within values": "password=secret=",
    "bearers": "bearer ",
    "URLs": "://a:b",
    "long users in URLs": "://" + "a" * 64,
    "long passwords in URLs": "://a:" + "b" * 128,
    "escapes": "\u00e9\n\"A",
    "dashes": "-",
}


def text_event(name, size):
    part = TEXTS[name]
    return planted.encode(
        {"event": "tool_result", "data": {"output": part * (size // len(part))}}).decode()


# ---- events: name -> (policy, function of the size) ----

def deep(inner):
    """Nested as deep as it may be, of which the path is a match at each level."""
    return '{"a":' * DEPTH + inner + "}" * DEPTH


WIDE = "{%s}" % fill('"b":1', 300)


def nested(number):
    return f'{{"id":"w{number}","event":{{"event":"text_delta","data":{{"text":"AKIAIO"}}}}}}'


EVENTS = {
    "chains of ** that never end": (
        rules(mask("**.a.**.a.**.a.**.a.**.a.**.b"), mask("**.*.**.*.**.*.**.b")),
        lambda size: event("t", f"[{fill(deep('1'), size)}]")),
    "chains of ** that end everywhere": (
        rules(mask("**.a.**.a.**.b"), mask("**[b=*].**.b")),
        lambda size: event("t", f"[{fill(deep(WIDE), size)}]")),
    "predicates behind many members": (
        rules(mask("**[k=t*t*t*t*].a"), mask("**[l=t].*.**.a")),
        lambda size: event("t", "{%s,\"k\":\"%s\",\"l\":\"t\"}" % (
            fill('"a":1', size // 2), "t" * (size // 2)))),
    "predicates that every member satisfies": (
        rules(mask("**[k=*].a"), mask("**[k=t].**[k=t].b")),
        lambda size: event("t", "{%s}" % fill('"k":"t"', size))),
    "duplicates of a member, removed": (
        rules(remove("**.d")), lambda size: event("t", "{%s}" % fill('"d":1', size))),
    "duplicates of the kind": (
        rules(mask("data.d")), lambda size: "{%s,\"data\":{}}" % fill('"event":"xyxyxy"', size)),
    "one member of two removed": (
        rules(remove("**.d")), lambda size: event("t", "{%s}" % fill('"d":1,"e":2', size))),
    "elements, masked": (
        rules(mask("data.*")), lambda size: event("t", f"[{fill('12345678', size)}]")),
    "brackets": (
        rules(mask("**.a.**.b")),
        lambda size: event("t", f"[{fill('[' * DEPTH + ']' * DEPTH, size)}]")),
    "nested events": (
        rules(mask("**.a")),
        lambda size: event("t", f"[{fill(event('xyxyxy', '{}'), size)}]")),
    "escaped keys": (
        rules(mask("**.aaaa")),
        lambda size: event("t", "{%s}" % fill('"' + "\\u0061" * 5 + '":1', size))),
    "pieces of one block": (
        planted.POLICY,
        lambda size: '{"event":"text_delta","data":{%s}}' % fill('"text":"AKIAIO"', size)),
    "pieces of nested workers": (
        planted.POLICY,
        lambda size: event("t", "[%s]" % ",".join(nested(i) for i in range(size // 70)))),
    "blocks in flight without their key": (
        planted.POLICY,
        lambda size: event("snapshot", '{"in_flight":{"blocks":[{"kind":"tool_call",%s}]}}' % fill(
            '"args":"AKIAIO"', size))),
}


def cases():
    """(name, policy, function from a size to an event)"""
    for name in TEXTS:
        yield name, planted.POLICY, lambda size, name=name: text_event(name, size)
    for name, (policy, make) in EVENTS.items():
        yield name, policy, make
