"""An identity provider on the loopback: publishes keys over real HTTP, signs tokens, can be away."""

import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.http_server import HttpServer, QuietHandler

ISSUER = "https://login.example"
WRITES: dict[str, Any] = {"EdDSA": OKPAlgorithm, "ES256": ECAlgorithm, "RS256": RSAAlgorithm}


def private_key(algorithm: str, bits: int = 2048) -> Any:
    """A new key for one of the algorithms that are taken."""
    match algorithm:
        case "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case _:
            return rsa.generate_private_key(65537, bits)


class Provider(HttpServer):
    """`keys` are published; `status` is what it answers with; `asked` counts."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.private: dict[str, tuple[str, Any]] = {}
        self.status = 200
        self.asked = 0
        provider = self

        class Handler(QuietHandler):
            def do_GET(self) -> None:
                provider.asked += 1
                text = json.dumps({"keys": provider.keys}).encode()
                self.send_response(provider.status)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        super().__init__(Handler)

    @property
    def url(self) -> str:
        return f"{self.address}/jwks"

    def add(self, kid: str, algorithm: str, *, bits: int = 2048, **members: Any) -> None:
        """Make a key and publish it."""
        key = private_key(algorithm, bits)
        self.private[kid] = algorithm, key
        public = json.loads(WRITES[algorithm].to_jwk(key.public_key()))
        self.keys.append({"kid": kid, "use": "sig", "alg": algorithm, **public, **members})

    def withdraw(self, kid: str) -> None:
        self.keys = [key for key in self.keys if key["kid"] != kid]

    def token(self, kid: str, *, headers: dict[str, Any] | None = None, **changes: object) -> str:
        """A token signed with one of its keys; a claim of None is left out."""
        algorithm, key = self.private[kid]
        base = {"iss": ISSUER, "aud": "rapport", "sub": "marta", "scope": "rewards:read", "exp": int(time.time()) + 60}
        claims = {name: value for name, value in {**base, **changes}.items() if value is not None}
        return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid} if headers is None else headers)
