"""A second, slow implementation of secret sets: every pattern tried at every place with `re`."""

import re

SEPARATOR = rb"""["'`\\]{0,4}[ \t]{0,4}[:=]{1,3}>?[ \t]{0,4}["'`\\]{0,4}"""
FIRST = rb"""[^\x00-\x20"'`\\,;<>(){}\[\]&|\x7f:=$%*]"""
OTHER = rb"""[^\x00-\x20"'`\\,;<>(){}\[\]&|\x7f]"""
URL_SECRET = rb"""[^\x00-\x20"'`<>\\/@?#\[\]{}|^\x7f]{1,128}"""
NAMES = rb"password|passwd|passphrase|secret|secret[_-]?key|token|api[_-]?key|access[_-]?key"

# (pattern, any case): the group is the secret. One pattern may not stand for several here, since
# only its first match at a place counts.
SOURCES = [
    *[(rb"%s([A-Z0-9]{16,})" % head, False) for head in (rb"A[KS]IA", rb"ABIA", rb"ACCA")],
    (rb"secret_?access_?key" + SEPARATOR + rb"([A-Z0-9/+]{40,})", True),
    (rb"session_?token" + SEPARATOR + rb"([A-Z0-9/+]{40,}={0,})", True),
    (rb"gh[pousr]_([A-Za-z0-9]{36,})", False),
    (rb"github_pat_(\w{22,})", False),
    (rb"gl(?:dt|ft|rt|ptt|cbt|soat)-([A-Za-z0-9_-]{20,})", False),
    (rb"glpat-([A-Za-z0-9_.-]{20,})", False),
    (rb"xox[abceoprs]-([A-Za-z0-9-]{10,})", False),
    (rb"xox[abceoprs]\.([A-Za-z0-9.-]{10,})", False),
    (rb"xapp-([A-Za-z0-9-]{10,})", False),
    (rb"hooks\.slack\.com/(?:services|workflows)/([A-Za-z0-9/+]{20,})", False),
    (rb"AIza([A-Za-z0-9_-]{35,})", False),
    (rb"GOCSPX-([A-Za-z0-9_-]{28,})", False),
    (rb"ya29\.([A-Za-z0-9_-]{20,})", False),
    (rb"sk-(?:proj|svcacct|admin)-([A-Za-z0-9_-]{20,})", False),
    (rb"sk-([A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20,})", False),
    (rb"sk-ant-([A-Za-z0-9_-]{20,})", False),
    (rb"-----BEGIN [A-Z0-9 ]{0,24}PRIVATE KEY[A-Z ]{0,8}-----"
     rb"(.*?-----END [A-Z0-9 ]{0,32}-----|.*)", False),
    (rb"eyJ([A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{1,}\.?[A-Za-z0-9_-]*)", False),
    (rb"bearer[ \t]{1,8}([A-Z0-9._~+/-]{16,}={0,})", True),
    (rb"(?:%s)" % NAMES + SEPARATOR + rb"(%s%s{7,})" % (FIRST, OTHER), True),
    (rb"://[A-Za-z0-9._~%!$&'()*+,;=-]{0,64}:(" + URL_SECRET + rb")@", False),
]
PATTERNS = [re.compile(source, re.DOTALL | (re.IGNORECASE if any_case else 0) | re.ASCII)
            for source, any_case in SOURCES]


def spans(text):
    found = []
    for pattern in PATTERNS:
        for at in range(len(text)):
            match = pattern.match(text, at)
            if match and match.end(1) > match.start(1):
                found.append(match.span(1))
    return sorted(found)


def mask(text, with_text="[redacted]"):
    """The text (str) with one mask for each run of spans that overlap."""
    data = text.encode()
    out, at = b"", 0
    merged = []
    for start, end in spans(data):
        if merged and start < merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    for start, end in merged:
        out += data[at:start] + with_text.encode()
        at = end
    return (out + data[at:]).decode()
