"""backend-relay: JWTs of an issuer, good and bad ones, when they end, and files of keys."""

import json
import subprocess
import time

import pytest

import ws
from fake_runtime import wait_until
from jwt_issuer import AUDIENCE, ISSUER, Issuer, encode
from relay import Relay, Stage, event

ALGORITHMS = ("HS256", "RS256", "ES256")
RULES = {"issuer": ISSUER, "audience": AUDIENCE, "leeway": "0s"}
MANY = {"failed_attempts": 10000}


@pytest.fixture(scope="module")
def issuers(tmp_path_factory):
    directory = tmp_path_factory.mktemp("issuers")
    return {name: Issuer(name, directory, name) for name in ALGORITHMS}


def open_stage(bin_dir, issuer, directory, jwks=False, **rules):
    file = directory / "keys"
    issuer.write_jwks(file) if jwks else issuer.write_pem(file)
    jwt = {**RULES, "algorithm": issuer.algorithm, **rules,
           "jwks_file" if jwks else "key_file": str(file)}
    return Stage(bin_dir, {"jwt": jwt, **MANY})


def get(stage, token):
    return stage.relay.get("/api/runtimes", token=token)[0]


@pytest.mark.parametrize("jwks", [False, True], ids=["pem", "jwks"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_good_token_is_taken_wherever_it_stands(bin_dir, tmp_path, issuers, algorithm, jwks):
    issuer = issuers[algorithm]
    with open_stage(bin_dir, issuer, tmp_path, jwks) as stage:
        stage.fill("w", 3)
        token = issuer.token(sub="auth0|57", role="operator", aud=["other", AUDIENCE],
                             nbf=int(time.time()), iat=int(time.time()))
        cookie = {"Cookie": f"sightline={token}"}
        for options in ({"token": token}, {"token": None, "bearer_subprotocol": token},
                        {"token": None, "headers": cookie, "origin": "https://console.example"}):
            with stage.relay.observe("w", **options) as client:
                assert len(client.until_caught_up()) == 3
        with stage.relay.observe("w", "viewer") as client:  # and one of ours
            client.until_caught_up()
        assert stage.relay.output().count("SUBJECT=auth0|57 ROLE=operator") >= 3
        for part in token.split("."):
            assert part not in stage.relay.everything_heard()


def bad_tokens(issuer):
    """What is wrong with it → the token."""
    now = int(time.time())
    good = issuer.token()
    head, body, signature = good.split(".")
    none = encode({"alg": "none", "typ": "JWT"})
    claims = issuer.claims()
    tokens = {
        "alg none": f"{none}.{body}.",
        "alg none with a signature": f"{none}.{body}.{signature}",
        "alg nOnE": issuer.token(header={"alg": "nOnE"}),
        "no alg": issuer.token(header={"typ": "JWT"}),
        "alg twice": issuer.token(header='{"alg":"none","alg":"%s"}' % issuer.algorithm),
        "alg a number": issuer.token(header={"alg": 256}),
        "a critical extension": issuer.token(header={"alg": issuer.algorithm, "crit": ["x"]}),
        "a header that is no object": issuer.token(header='"HS256"'),
        "a header that is no JSON": issuer.token(header="{alg}"),
        "no signature": f"{head}.{body}.",
        "two parts": f"{head}.{body}",
        "four parts": good + ".x",
        "empty parts": "..",
        "another body": f"{head}.{encode({**claims, 'role': 'viewer'})}.{signature}",
        "a bit of the signature": f"{head}.{body}.{'B' if signature[0] == 'A' else 'A'}"
                                  f"{signature[1:]}",
        "a shorter signature": good[:-4],
        "padding": f"{head}=.{body}.{signature}",
        "expired by a second": issuer.token(exp=now - 1),
        "expired now": issuer.token(exp=now),
        "no expiry": issuer.token(exp=None),
        "an expiry in words": issuer.token(exp=str(now + 3600)),
        "an expiry with a fraction": issuer.token(exp=now + 3600.5),
        "an expiry beyond numbers": issuer.token(exp=10 ** 30),
        "a negative expiry": issuer.token(exp=-1),
        "an expiry twice": issuer.token(body=json.dumps(claims)[:-1] + f', "exp": {now + 7200}}}'),
        "not yet": issuer.token(nbf=now + 60),
        "issued in the future": issuer.token(iat=now + 60),
        "a time that is none": issuer.token(nbf="soon"),
        "another issuer": issuer.token(iss=ISSUER + "/"),
        "no issuer": issuer.token(iss=None),
        "a list of issuers": issuer.token(iss=[ISSUER]),
        "another audience": issuer.token(aud="sightline2"),
        "other audiences": issuer.token(aud=["a", "b", [AUDIENCE]]),
        "no audience": issuer.token(aud=None),
        "no role": issuer.token(role=None),
        "an empty role": issuer.token(role=""),
        "a role that is a glob": issuer.token(role="*"),
        "a role with a glob in it": issuer.token(role="op?rator"),
        "a list of roles": issuer.token(role=["operator"]),
        "a role with a NUL": issuer.token(role="operator\0x"),
        "a huge role": issuer.token(role="o" * 1000),
        "no subject": issuer.token(sub=None),
        "a subject that forges a field": issuer.token(sub="eve ROLE=operator"),
        "a subject with a line end": issuer.token(sub="eve\nAUDIT=begin"),
        "a huge subject": issuer.token(sub="s" * 256),
        "huge claims": issuer.token(more="x" * 3000),
        "deep claims": issuer.token(body='{"a":' * 200 + "1" + "}" * 200),
        "claims that are a list": issuer.token(body="[]"),
        "claims with a byte order mark": issuer.token(body="\ufeff" + json.dumps(claims)),
        "many claims": issuer.token(body=json.dumps({**claims, **{f"c{i}": i for i in range(400)}})),
    }
    return tokens


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_bad_token_is_refused_and_not_told_why(bin_dir, tmp_path, issuers, algorithm):
    issuer = issuers[algorithm]
    with open_stage(bin_dir, issuer, tmp_path) as stage:
        answers = set()
        for what, token in bad_tokens(issuer).items():
            answer = stage.relay.get("/api/runtimes", token=token)
            assert answer[0] == 401, f"{what}: {answer}"
            answers.add(answer)
        answers.add(stage.relay.get("/api/runtimes", token="of-ours-but-wrong"))
        assert len(answers) == 1
        assert get(stage, issuer.token()) == 200
        with stage.relay.observe("w", token=issuer.token(exp=1)) as client:
            assert client.diagnostic()["code"] == "backend.unauthorized"
            assert client.closed()[0] == 4401


def test_a_key_is_only_for_its_own_algorithm(bin_dir, tmp_path, issuers):
    """Above all: a public key is no secret, whatever a token's header says."""
    for algorithm in ("RS256", "ES256"):
        issuer = issuers[algorithm]
        with open_stage(bin_dir, issuer, tmp_path) as stage:
            for secret in (issuer.pem, issuer.pem.strip(), issuer.pem.strip() + b"\0"):
                forger = Issuer("HS256", tmp_path)
                forger.secret = secret
                assert get(stage, forger.token()) == 401
                assert get(stage, forger.token(header={"alg": algorithm})) == 401
            for other in issuers.values():
                if other is not issuer:
                    assert get(stage, other.token()) == 401
                    assert get(stage, other.token(header={"alg": algorithm})) == 401
            stranger = Issuer(algorithm, tmp_path, "stranger")
            assert get(stage, stranger.token()) == 401
            assert get(stage, issuer.token(header={"alg": algorithm, "jwk": stranger.jwk})) == 200
            assert get(stage, stranger.token(header={"alg": algorithm,
                                                     "jwk": stranger.jwk})) == 401


def test_leeway_and_names_of_claims_are_the_configuration_s(bin_dir, tmp_path, issuers):
    issuer, now = issuers["ES256"], int(time.time())
    rules = {"leeway": "1min", "role_claim": "https://x.example/role", "subject_claim": "email"}
    with open_stage(bin_dir, issuer, tmp_path, **rules) as stage:
        named = {"https://x.example/role": "operator", "email": "bob@x", "role": None, "sub": None}
        assert get(stage, issuer.token(**named)) == 200
        assert get(stage, issuer.token(**{**named, "exp": now - 30})) == 200
        assert get(stage, issuer.token(**{**named, "exp": now - 90})) == 401
        assert get(stage, issuer.token(**{**named, "nbf": now + 30})) == 200
        assert get(stage, issuer.token(**{**named, "nbf": now + 90})) == 401
        assert get(stage, issuer.token()) == 401


def test_a_session_ends_when_its_token_does(bin_dir, tmp_path, issuers):
    issuer = issuers["HS256"]
    with open_stage(bin_dir, issuer, tmp_path) as stage:
        stage.fill("w", 3)
        expires = int(time.time()) + 3
        with stage.relay.observe("w", token=issuer.token()) as other, \
                stage.relay.observe("w", token=issuer.token(exp=expires)) as client:
            client.until_caught_up()
            diagnostic = client.diagnostic("backend.session_expired")
            assert diagnostic["final"] and diagnostic["retry"] == "never"
            assert client.closed()[0] == 4401
            assert expires <= time.time() < expires + 5
            stage.runtime.append("w", event("text_delta", n=9))
            other.events(4)


def test_a_reload_takes_other_keys_and_ends_the_sessions_of_those_that_are_gone(
        bin_dir, tmp_path, issuers):
    old, new = issuers["RS256"], Issuer("RS256", tmp_path, "new")
    with open_stage(bin_dir, old, tmp_path, jwks=True) as stage:
        stage.fill("w", 3)
        with stage.relay.observe("w", token=old.token()) as client, \
                stage.relay.observe("w") as ours:
            client.until_caught_up()
            ours.until_caught_up()
            new.write_jwks(tmp_path / "keys", old.jwk)
            stage.relay.reload()
            assert get(stage, old.token()) == get(stage, new.token()) == 200
            (tmp_path / "keys").write_text("{")
            stage.relay.process.send_signal(1)
            wait_until(lambda: "going on with" in stage.relay.output(), "the refusal")
            assert get(stage, new.token()) == 200
            new.write_jwks(tmp_path / "keys")
            stage.relay.reload()
            assert client.diagnostic("backend.session_expired")["final"]
            assert get(stage, old.token()) == 401
            stage.runtime.append("w", event("text_delta", n=9))
            ours.events(1)


def test_without_jwt_configured_none_is_right(bin_dir, issuers):
    with Stage(bin_dir, MANY) as stage:
        for issuer in issuers.values():
            assert get(stage, issuer.token()) == 401


@pytest.mark.parametrize("size", [4097, 6000, 1 << 20])
def test_a_long_token_is_refused_whatever_it_holds(bin_dir, tmp_path, issuers, size):
    issuer = issuers["HS256"]
    with open_stage(bin_dir, issuer, tmp_path) as stage:
        token = issuer.token(more="x" * size)
        try:
            assert get(stage, token) in (401, 431)
        except OSError:
            assert size == 1 << 20  # cut off while it was still sending
        with pytest.raises((ws.Refused, OSError, ws.websockets.WebSocketException)):
            stage.relay.observe("w", token=token, plain=True)
        assert get(stage, issuer.token()) == 200


def check_start(bin_dir, tmp_path, rules, content):
    """What it says of a configuration with this file of keys."""
    (tmp_path / "keys").write_bytes(content)
    relay = Relay(bin_dir, tmp_path / "p.sock", [], {"jwt": {**RULES, **rules}}, tmp_path)
    return subprocess.run([relay.program, "--config", relay.dir / "backend-relay.yaml"],
                          capture_output=True, text=True, timeout=20, check=False)


def test_files_of_keys_with_mistakes(bin_dir, tmp_path, issuers):
    small = Issuer("RS256", tmp_path, "small", bits=1024)
    other_curve = Issuer("ES256", tmp_path, "p384", curve="P-384")
    rsa, ec, hmac = issuers["RS256"], issuers["ES256"], issuers["HS256"]
    jwks = lambda *keys: json.dumps({"keys": keys}).encode()
    cases = [
        ("RS256", "key_file", b"", "no key for RS256"),
        ("RS256", "key_file", b"nonsense", "no key for RS256"),
        ("RS256", "key_file", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", ""),
        ("RS256", "key_file", ec.pem, "kind or size"),
        ("RS256", "key_file", small.pem, "kind or size"),
        ("RS256", "key_file", rsa.private.read_bytes(), ""),
        ("ES256", "key_file", rsa.pem, "kind or size"),
        ("ES256", "key_file", other_curve.pem, "kind or size"),
        ("HS256", "key_file", rsa.pem, "no secret"),
        ("HS256", "key_file", b"x" * 31, "at least 32"),
        ("RS256", "key_file", rsa.pem * 9, "more than 8"),
        ("RS256", "key_file", b"x" * 70000, ""),
        ("RS256", "jwks_file", b"[]", "JWKS"),
        ("RS256", "jwks_file", b'{"keys":{}}', "JWKS"),
        ("RS256", "jwks_file", b'{"keys":[]}', "no key for RS256"),
        ("RS256", "jwks_file", jwks(ec.jwk, hmac.jwk), "no key for RS256"),
        ("RS256", "jwks_file", jwks({**rsa.jwk, "use": "enc"}), "no key for RS256"),
        ("RS256", "jwks_file", jwks({**rsa.jwk, "n": "AQAB"}), "JWKS"),
        ("RS256", "jwks_file", jwks({**rsa.jwk, "n": "*"}), "JWKS"),
        ("RS256", "jwks_file", jwks(*[rsa.jwk] * 9), "more than 8"),
        ("ES256", "jwks_file", jwks({**ec.jwk, "x": ec.jwk["y"]}), "JWKS"),
        ("ES256", "jwks_file", jwks({**ec.jwk, "crv": "P-384"}), "JWKS"),
        ("HS256", "jwks_file", jwks({"kty": "oct", "k": encode(b"x" * 31)}), "JWKS"),
    ]
    for algorithm, kind, content, text in cases:
        result = check_start(bin_dir, tmp_path, {"algorithm": algorithm,
                                                 kind: str(tmp_path / "keys")}, content)
        assert result.returncode == 2, (algorithm, kind, content[:60], result)
        assert "keys: " in result.stderr and text in result.stderr, (content[:60], result.stderr)


def test_configuration_with_mistakes(bin_dir, tmp_path):
    for rules in ({}, {"algorithm": "RS256"}, {"algorithm": "none", "key_file": "k"},
                  {"algorithm": "RS256", "key_file": "k", "jwks_file": "k"},
                  {"algorithm": "RS256", "key_file": "k", "leeway": "1h"},
                  {"algorithm": "RS256", "key_file": "k", "issuer": ""},
                  {"algorithm": "RS256", "key_file": "k", "unknown": "x"}):
        result = check_start(bin_dir, tmp_path, rules, b"")
        assert result.returncode == 2, rules
        assert "backend-relay.yaml:" in result.stderr
