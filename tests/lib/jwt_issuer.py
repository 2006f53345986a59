"""An issuer of JWTs that shares no code with ours: Python's hmac and the program openssl.

    issuer = Issuer("RS256", tmp_path)
    issuer.write_pem(path); issuer.write_jwks(path)      # what a verifier gets
    token = issuer.token(sub="alice", role="operator")   # good for an hour; claims as given
    token = issuer.token(header={"alg": "none"}, …)
"""

import base64
import hashlib
import hmac
import json
import os
import re
import subprocess
import time

ISSUER, AUDIENCE = "https://id.example", "sightline"


def encode(data):
    if not isinstance(data, bytes):
        data = data if isinstance(data, str) else json.dumps(data)
        data = data.encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*arguments, stdin=b""):
    return subprocess.run(["openssl", *map(str, arguments)], input=stdin, capture_output=True,
                          check=True, timeout=60).stdout


def _integers_of_der(der):
    """The two numbers of an ECDSA signature, as 64 bytes."""
    numbers, at = [], 2
    for _ in range(2):
        length = der[at + 1]
        numbers.append(int.from_bytes(der[at + 2:at + 2 + length], "big").to_bytes(32, "big"))
        at += 2 + length
    return b"".join(numbers)


class Issuer:
    def __init__(self, algorithm, directory, name="key", bits=2048, curve="P-256"):
        self.algorithm, self.private = algorithm, directory / f"{name}.private"
        self.secret = base64.urlsafe_b64encode(os.urandom(48))
        if algorithm == "RS256":
            openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{bits}",
                    "-out", self.private)
        elif algorithm == "ES256":
            openssl("genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}",
                    "-out", self.private)

    @property
    def pem(self):
        if self.algorithm == "HS256":
            return self.secret
        return openssl("pkey", "-in", self.private, "-pubout")

    @property
    def jwk(self):
        if self.algorithm == "HS256":
            return {"kty": "oct", "k": encode(self.secret)}
        if self.algorithm == "RS256":
            text = openssl("rsa", "-in", self.private, "-noout", "-modulus").decode()
            return {"kty": "RSA", "n": encode(bytes.fromhex(text.split("=")[1].strip())),
                    "e": "AQAB", "use": "sig", "alg": "RS256", "kid": "1"}
        text = openssl("pkey", "-in", self.private, "-noout", "-text_pub").decode()
        point = bytes.fromhex(re.sub(r"[^0-9a-f]", "", text.split("pub:")[1].split("ASN1")[0]))
        return {"kty": "EC", "crv": "P-256", "x": encode(point[1:33]), "y": encode(point[33:])}

    def write_pem(self, path):
        path.write_bytes(self.pem)

    def write_jwks(self, path, *more):
        path.write_text(json.dumps({"keys": [self.jwk, *more]}))

    def sign(self, text):
        if self.algorithm == "HS256":
            return hmac.new(self.secret, text.encode(), hashlib.sha256).digest()
        signature = openssl("dgst", "-sha256", "-sign", self.private, stdin=text.encode())
        return _integers_of_der(signature) if self.algorithm == "ES256" else signature

    def claims(self, **changes):
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice@example.org", "role": "operator",
                  "exp": int(time.time()) + 3600, **changes}
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, header=None, body=None, **changes):
        """`body` instead of the claims; a claim that is None is left out."""
        header = {"alg": self.algorithm, "typ": "JWT"} if header is None else header
        text = encode(header) + "." + encode(self.claims(**changes) if body is None else body)
        return text + "." + encode(self.sign(text))
