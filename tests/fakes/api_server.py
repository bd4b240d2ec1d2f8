"""A server that speaks the documented REST routes over a real socket, with scripted failures.

It stores next to nothing: a model echoes its input, every upload is version 7. What it is for is to
see what a client sends, and to answer as a server in trouble does.
"""

import json
import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import jwt
import pyarrow as pa

TOKEN_PATH = "/auth/realms/master/protocol/openid-connect/token"  # noqa: S105 - a route
ARROW = "application/vnd.apache.arrow.file"
USER = "028c8b48-c39b-4578-9110-0b5bdd3824da"
EMAIL = "ada@example.com"
PASSWORD = "secret"  # noqa: S105 - of this fake alone
TIME_MS = 1_688_750_664_105
_KEY = "k" * 32


@dataclass(frozen=True)
class Received:
    path: str
    params: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.body)


@dataclass
class Scripted:
    status: int = 200
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)
    gate: threading.Event | None = None


@dataclass
class ApiServer:
    """What the socket server does; ``scripted`` answers go out before the built-in ones."""

    url: str = ""
    expires_in: int = 3600
    statuses: deque[str] = field(default_factory=lambda: deque(["ready"]))
    error_summary: str | None = None
    warnings: tuple[str, ...] = ()
    received: list[Received] = field(default_factory=list)
    grants: list[dict[str, str]] = field(default_factory=list)
    refused_tokens: set[str] = field(default_factory=set)
    scripted: dict[str, deque[Scripted]] = field(default_factory=lambda: defaultdict(deque))
    workspaces: list[dict[str, object]] = field(default_factory=list)
    is_deployed: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, *answers: Scripted) -> None:
        self.scripted[path].extend(answers)

    def sent_to(self, path: str) -> list[Received]:
        return [request for request in self.received if request.path == path]

    def handle(self, request: Received) -> tuple[int, dict[str, str], bytes]:
        with self.lock:
            self.received.append(request)
            script = self.scripted[request.path]
            scripted = script.popleft() if script else None
        if scripted is not None:
            if scripted.gate is not None:
                scripted.gate.wait(10)
            return _encoded(scripted.status, scripted.body, scripted.headers)
        if request.path == TOKEN_PATH:
            return self._token(request)
        if request.headers.get("authorization", "").removeprefix("Bearer ") in self.refused_tokens:
            return _encoded(401, problem("not_authenticated", "token is not valid", 401))
        if request.path.startswith("/v1/api/pipelines/infer/"):
            return self._infer(request)
        return _encoded(*self._route(request))

    def _token(self, request: Received) -> tuple[int, dict[str, str], bytes]:
        form = {key: values[0] for key, values in parse_qs(request.body.decode()).items()}
        with self.lock:
            self.grants.append(form)
            number = len(self.grants)
        if form["grant_type"] == "password" and form["password"] != PASSWORD:
            return _encoded(
                401,
                {"error": "invalid_grant", "error_description": "Invalid user credentials"},
            )
        claims = {"sub": USER, "email": EMAIL, "n": number}
        return _encoded(
            200,
            {
                "access_token": jwt.encode(claims, _KEY, "HS256"),
                "expires_in": self.expires_in,
                "refresh_token": f"refresh-{number}",
                "refresh_expires_in": 3900,
            },
        )

    def _route(self, request: Received) -> tuple[int, object]:
        routes = {
            "workspaces/list": self._list_workspaces,
            "workspaces/create": self._create_workspace,
            "models/upload_and_convert": self._upload,
            "models/get_version_by_id": self._get_version,
            "pipelines/create": self._create_pipeline,
            "pipelines/deploy": self._deploy,
            "pipelines/undeploy": self._undeploy,
        }
        if self.is_deployed:
            routes["status/get_deployment"] = self._get_deployment
            routes["admin/get_pipeline_external_url"] = self._get_external_url
        route = routes.get(request.path.removeprefix("/v1/api/"))
        if route is None:
            facts = {"kind": "deployment", "reference": request.path}
            return 404, problem("not_found", f"{request.path} was not found", 404, **facts)
        return 200, route(json.loads(request.body) if request.body[:1] == b"{" else {})

    def _list_workspaces(self, _: dict[str, str]) -> object:
        return {"workspaces": self.workspaces}

    def _create_workspace(self, question: dict[str, str]) -> object:
        self.workspaces.append(workspace(len(self.workspaces) + 1, question["workspace_name"]))
        return {"workspace_id": len(self.workspaces)}

    def _upload(self, _: dict[str, str]) -> object:
        return {"insert_models": {"returning": [{"models": [{"id": 7}]}]}}

    def _get_version(self, _: dict[str, str]) -> object:
        status = self.statuses.popleft() if len(self.statuses) > 1 else self.statuses[0]
        return version(status, self.error_summary, self.warnings)

    def _create_pipeline(self, _: dict[str, str]) -> object:
        return {
            "pipeline_pk_id": 3,
            "pipeline_variant_pk_id": 30 + len(self.sent_to("/v1/api/pipelines/create")),
            "pipeline_variant_version": "a6dd2cee-58d6-4d24-9e25-f531dbbb95ad",
        }

    def _deploy(self, _: dict[str, str]) -> object:
        self.is_deployed = True
        return {"id": 5}

    def _undeploy(self, _: dict[str, str]) -> object:
        self.is_deployed = False
        return {}

    def _get_deployment(self, _: dict[str, str]) -> object:
        return deployment("Running")

    def _get_external_url(self, question: dict[str, str]) -> object:
        path = f"/v1/api/pipelines/infer/elsewhere-9/{question['pipeline_name']}"
        return {"url": f"https://public.example.com{path}"}

    def _infer(self, request: Received) -> tuple[int, dict[str, str], bytes]:
        if request.headers["content-type"] == ARROW:
            table = pa.ipc.open_file(request.body).read_all()
            names = [f"in.{n}" for n in table.column_names]
            names += [f"out.{n}" for n in table.column_names]
            times = pa.array([TIME_MS] * table.num_rows, pa.int64())
            count = pa.array([0] * table.num_rows, pa.int8())
            answer = pa.Table.from_arrays(
                [times, *table.columns, *table.columns, count], ["time", *names, "anomaly.count"]
            )
            return 200, {"content-type": ARROW}, arrow_file(answer)
        records = request.json()
        if isinstance(records, dict):
            rows = zip(*records.values(), strict=True)
            records = [dict(zip(records, row, strict=True)) for row in rows]
        answers = [
            {
                "anomaly.count": 0,
                **{f"out.{key}": value for key, value in record.items()},
                **{f"in.{key}": value for key, value in record.items()},
                "time": TIME_MS,
            }
            for record in records
        ]
        return _encoded(200, answers)


@contextmanager
def running_api_server() -> Iterator[ApiServer]:
    api = ApiServer(workspaces=[workspace(1, f"{EMAIL} - Default Workspace")])
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(api))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def workspace(number: int, name: str, owner: str = USER) -> dict[str, object]:
    return {
        "id": number,
        "name": name,
        "created_at": "2023-05-17T20:36:36.312003+00:00",
        "created_by": owner,
        "archived": False,
        "models": [],
        "pipelines": [],
    }


def version(
    status: str, error_summary: str | None = None, warnings: Sequence[str] = ()
) -> dict[str, object]:
    facts = {
        "id": 7,
        "name": "echo",
        "conversion": {"framework": "custom"},
        "status": status,
        "file_info": {
            "version": "0b989008-5f1d-453e-8085-98d97be1b722",
            "sha": "bc85ce59",
            "file_name": "echo.zip",
            "size": 3,
        },
        "error_summary": error_summary,
        "warnings": list(warnings),
    }
    return {"model_version": {"model_version": facts, "config": {"id": 7}}}


def deployment(status: str, *reasons: str) -> dict[str, object]:
    sidekicks = [{"name": "echo-0", "status": status, "reason": reason} for reason in reasons]
    return {
        "status": status,
        "details": [],
        "engines": [],
        "engine_lbs": [],
        "sidekicks": sidekicks,
    }


def problem(code: str, message: str, status: int, **facts: object) -> dict[str, object]:
    return {
        "code": status,
        "status": "Error",
        "error": message,
        "source": "engine",
        "msg": message,
        "type": code,
        "facts": facts,
    }


def arrow_file(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def _encoded(
    status: int, body: object, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    return status, headers or {}, encoded


def _handler(api: ApiServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            status, more, answer = api.handle(
                Received(parts.path, parse_qsl(parts.query), headers, body)
            )
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            return

    return Handler
