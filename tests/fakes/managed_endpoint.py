"""A hosted LLM and its token service on a loopback socket.

Tokens are given for a JWT that the service account's key has signed (OAuth 2.0 JWT bearer grant,
reference/providers-security.md 1.2). ``/predict/objects`` and ``/predict/texts`` answer the two
forms of ``predictions`` that seed 004's code tells apart.
"""

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_AUDIENCE = "https://oauth2.googleapis.com/token"
"""What google-auth names as the audience, whatever the credentials file says."""


class ManagedEndpoint:
    """What the stand-in knows and was asked. Answer ``n`` says ``prompt`` backwards."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.tokens: set[str] = set()
        self.prompts: list[str] = []
        self.scopes: set[str] = set()

    @property
    def token_uri(self) -> str:
        """Return where tokens are asked for."""
        return f"{self.url}/token"

    def service_account(self) -> dict[str, str]:
        """Return the content of a credentials file."""
        pem = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
        return {
            "type": "service_account",
            "project_id": "stand-in",
            "private_key_id": "key-1",
            "private_key": pem,
            "client_email": "byop@stand-in.invalid",
            "client_id": "1",
            "token_uri": self.token_uri,
        }

    def grant(self, form: dict[str, list[str]]) -> tuple[HTTPStatus, object]:
        """Answer a request for a token."""
        if form.get("grant_type") != [_GRANT]:
            return HTTPStatus.BAD_REQUEST, {"error": "unsupported_grant_type"}
        try:
            claims = jwt.decode(
                form["assertion"][0],
                self.key.public_key(),
                algorithms=["RS256"],
                audience=[self.token_uri, _AUDIENCE],
                issuer="byop@stand-in.invalid",
            )
        except jwt.InvalidTokenError:
            return HTTPStatus.BAD_REQUEST, {"error": "invalid_grant"}
        self.scopes.add(claims["scope"])
        token = secrets.token_urlsafe(16)
        self.tokens.add(token)
        return HTTPStatus.OK, {"access_token": token, "token_type": "Bearer", "expires_in": 3600}

    def predict(self, form: str, body: dict[str, list[dict[str, str]]]) -> object:
        """Answer a prediction."""
        prompts = [instance["prompt"] for instance in body["instances"]]
        self.prompts += prompts
        texts = [f"Prompt:\n{prompt}\nOutput:\n{answer_to(prompt)}" for prompt in prompts]
        if form == "texts":
            return {"predictions": texts}
        return {"predictions": [{"predictions": [text]} for text in texts]}


def answer_to(prompt: str) -> str:
    """Return what the hosted model answers."""
    return prompt[::-1]


@contextmanager
def managed_endpoint() -> Iterator[ManagedEndpoint]:
    """Give a stand-in that answers until the block ends."""
    server = _Server(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - the base class's own
        super().__init__(*arguments)
        self.endpoint = ManagedEndpoint(f"http://127.0.0.1:{self.server_port}")


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        endpoint = self.server.endpoint
        if self.path == "/token":
            self._answer(*endpoint.grant(parse_qs(body.decode())))
        elif self._bearer() not in endpoint.tokens:
            self._answer(HTTPStatus.UNAUTHORIZED, {"error": {"status": "UNAUTHENTICATED"}})
        else:
            form = self.path.removeprefix("/predict/")
            self._answer(HTTPStatus.OK, endpoint.predict(form, json.loads(body)))

    def _bearer(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _answer(self, status: HTTPStatus, content: object) -> None:
        raw = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Print nothing."""
