"""Everything but inference: a FastAPI application, and the raw ASGI around it.

Around it: the request id, the body limit, metrics, the log line, and the boundary at which a fault
of ours becomes an answer.
"""

import time
from collections.abc import Callable

import anyio
import anyio.to_thread
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import byop
from byop.errors import ApiError, ByopError, InvalidInputError
from byop.json_text import read_json
from byop.server import docs
from byop.server.auth import user_of
from byop.server.bodies import ClientGoneError, read_body, replay, require_plain
from byop.server.codecs import require_form, require_json
from byop.server.health import health_routes
from byop.server.http_answers import Answer, send_answer
from byop.server.metrics import Metrics
from byop.server.openapi import DocumentedApi
from byop.server.problems import (
    InternalError,
    MethodNotAllowedError,
    UnknownRouteError,
    problem_answer,
)
from byop.server.request_ids import bind_request_id
from byop.server.routes import (
    config,
    deployments,
    features,
    logs,
    models,
    pipelines,
    tokens,
    users,
    workspaces,
)
from byop.server.services import Services
from byop.server.uploads import UploadSlots
from byop.server.validation import validation_message
from byop.settings import Settings
from byop.wire.answers import Problem

MAX_BODY_BYTES = 8 << 20
"""Largest body of a management request; uploads have a limit of their own."""

MAX_FORM_BYTES = 64 << 10
"""Largest body of the token route, which anybody may send."""

_LARGE_JSON_BYTES = 256 << 10
"""From here on JSON is checked in a thread."""

_PROTECTED = "/v1/api/"
"""Below it a POST needs a user's token before a byte of its body is read."""

_PARALLEL_LOG_INS = 4
_PARALLEL_UPLOADS = 16
_PARALLEL_UPLOAD_CHECKS = 4
_UNMATCHED = "unmatched"
_CLIENT_GONE = 499
_ROUTERS = (config, features, users, workspaces, models, pipelines, deployments, logs)


def management_app(
    services: Services,
    *,
    settings: Settings,
    check_ready: Callable[[], None],
    metrics: Metrics,
    isolation: str,
) -> FastAPI:
    """Return the FastAPI application of the management routes."""
    app = DocumentedApi(
        title="byop",
        version=byop.__version__,
        summary="Self-hosted LLM gateway and model server",
        openapi_url=docs.OPENAPI_URL,
        docs_url=None,
        redoc_url=None,
        strict_content_type=False,
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.settings = settings
    app.state.log_ins = anyio.CapacityLimiter(_PARALLEL_LOG_INS)
    app.state.upload_slots = UploadSlots(settings.max_uploads)
    app.state.uploads = anyio.CapacityLimiter(_PARALLEL_UPLOADS)
    app.state.upload_checks = anyio.CapacityLimiter(_PARALLEL_UPLOAD_CHECKS)
    app.include_router(tokens.router)
    for module in _ROUTERS:
        app.include_router(module.router, responses={"default": {"model": Problem}})
    app.include_router(health_routes(check_ready=check_ready, metrics=metrics, isolation=isolation))
    app.include_router(docs.router)
    app.add_exception_handler(ByopError, _deliberate_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _fault)
    return app


class ManagementEndpoint:
    """Serves the management routes. Of a request to no route with a body, none is read."""

    def __init__(self, app: ASGIApp, *, services: Services, metrics: Metrics) -> None:
        self._app = app
        self._tokens = services.tokens
        self._inference = services.inference
        self._body_paths = _body_paths()
        self._metrics = metrics
        self._log = structlog.get_logger(__name__).bind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, whatever happens."""
        started = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = bind_request_id(headers.get(b"x-request-id"))
        status = await self._serve(scope, headers, receive, _Sender(send, request_id))
        seconds = time.perf_counter() - started
        route = getattr(scope.get("route"), "path", _UNMATCHED)
        self._metrics.count_request(_method(scope), route, status, seconds)
        self._log.debug(
            "request served",
            method=scope["method"],
            path=scope["path"],
            status=status,
            duration_ms=seconds * 1000,
        )

    async def _serve(
        self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, sender: "_Sender"
    ) -> int:
        """Return the status that was sent."""
        try:
            if scope["method"] == "POST" and scope["path"].startswith(_PROTECTED):
                user_of(headers.get(b"authorization"), self._tokens)
            require_plain(headers)
            if scope["method"] != "POST" or scope["path"] not in self._body_paths:
                await self._app(scope, receive, sender)
            elif scope["path"] in models.UPLOAD_PATHS:
                require_form(headers.get(b"content-type"))
                await self._app(scope, receive, sender)
            else:
                await self._serve_body(scope, headers, receive, sender)
        except ByopError as error:
            await sender.send_whole(problem_answer(error, source="api"))
        except ClientGoneError:
            return _CLIENT_GONE
        except Exception:  # noqa: BLE001 - the request boundary
            self._log.exception("request failed", method=scope["method"], path=scope["path"])
            await sender.send_whole(problem_answer(InternalError(), source="api"))
        return sender.status

    async def _serve_body(
        self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, sender: "_Sender"
    ) -> None:
        """Serve a request with its whole body in hand, which counts as inference bodies do."""
        length = headers.get(b"content-length")
        is_protected = scope["path"].startswith(_PROTECTED)
        limit = MAX_BODY_BYTES if is_protected else MAX_FORM_BYTES
        with self._inference.admit(None) as admission:
            body = await read_body(receive, length, limit_bytes=limit, admit=admission.take)
            if body and is_protected:
                require_json(headers.get(b"content-type"))
                if len(body) < _LARGE_JSON_BYTES:
                    read_json(body)
                else:
                    await anyio.to_thread.run_sync(read_json, body)
            await self._app(scope, replay(body, receive), sender)


class _Sender:
    """Sends what the application sends, with the request id in the headers."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            named = (b"x-request-id", self._request_id.encode())
            message = {**message, "headers": [*message["headers"], named]}
        await self._send(message)

    async def send_whole(self, answer: Answer) -> None:
        """Send ``answer``, unless another was begun: that one is broken off."""
        if self.status == 0:
            self.status = answer.status
            await send_answer(self._send, answer, self._request_id)


def _body_paths() -> frozenset[str]:
    """Return the paths of the routes that read a body."""
    routes = [route for module in (tokens, *_ROUTERS) for route in module.router.routes]
    return frozenset(
        route.path
        for route in routes
        if isinstance(route, APIRoute) and "POST" in (route.methods or ())
    )


async def _deliberate_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ByopError)  # noqa: S101 - registered for this class
    return _response(problem_answer(error, source="api"))


async def _fault(_request: Request, _error: Exception) -> Response:
    """Answer for a fault of ours; FastAPI raises it again, and ManagementEndpoint logs it."""
    return _response(problem_answer(InternalError(), source="api"))


async def _invalid_request(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class
    problem = InvalidInputError(f"request body: {validation_message(error.errors())}")
    return _response(problem_answer(problem, source="api"))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    return _response(_http_problem(request, error))


def _http_problem(request: Request, error: HTTPException) -> Answer:
    match error.status_code:
        case 404:
            return problem_answer(UnknownRouteError(request.url.path), source="api")
        case 405:
            allowed = (error.headers or {}).get("Allow", "POST")
            return problem_answer(MethodNotAllowedError(request.method, allowed), source="api")
        case status:
            return problem_answer(ApiError(str(error.detail)), source="api", status=status)


def _response(answer: Answer) -> Response:
    response = Response(
        bytes(answer.body), status_code=answer.status, media_type=answer.content_type.decode()
    )
    for name, value in answer.headers:
        response.headers[name.decode()] = value.decode()
    return response


def _method(scope: Scope) -> str:
    """Return the method as a bounded label."""
    return scope["method"] if scope["method"] in ("GET", "POST", "HEAD") else "other"
