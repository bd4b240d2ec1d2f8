"""The inference route: raw ASGI, because every microsecond here is paid by every request.

``POST /v1/api/pipelines/infer/{deployment}-{id}/{pipeline}``. Who may call and what runs there are
known from memory before a byte of the body is read.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import pyarrow as pa
import structlog
from starlette.types import Receive, Scope, Send

from byop.domain.inferences import InferenceRecord
from byop.errors import ByopError, NotFoundError, TooLargeError
from byop.server.auth import bearer_token
from byop.server.bodies import (
    BUFFERED_BYTES,
    ClientGoneError,
    DisconnectWatch,
    read_body,
    require_plain,
)
from byop.server.codecs import (
    Format,
    decode_arrow,
    decode_json,
    encode_table,
    format_of_answer,
    format_of_body,
    selection_of_query,
)
from byop.server.http_answers import Answer, send_answer
from byop.server.metrics import Metrics
from byop.server.problems import InternalError, MethodNotAllowedError, problem_answer
from byop.server.request_ids import bind_request_id
from byop.server.services import Services
from byop.services.admission import Admission
from byop.services.routes import InferenceRoute
from byop.settings import Settings
from byop.tables.ipc import IncomingTable, TableLimits

INFER_PREFIX = "/v1/api/pipelines/infer/"

_P = ParamSpec("_P")
_T = TypeVar("_T")
_LARGE_TABLE_BYTES = 4 << 20
"""From here on a table is decoded, or encoded as an answer, in a thread: both take tens of
milliseconds, in which the event loop would serve nobody else."""
_LARGE_JSON_BYTES = 1 << 19
"""The same for JSON, of which 1 MiB can take a quarter of a second. For less a thread costs more
than it gives: 1,000 rows (256 KB) take 20% longer there."""
_CLIENT_GONE = 499
"""Never sent: what metrics and logs call a request whose client left."""


@dataclass(slots=True)
class _Request:
    """One request; ``pipeline`` is empty until a deployed one was found for the caller."""

    scope: Scope
    headers: dict[bytes, bytes]
    receive: Receive
    pipeline: str = ""


class InferenceEndpoint:
    """Answers inference requests."""

    def __init__(self, services: Services, *, metrics: Metrics, settings: Settings) -> None:
        self._tokens = services.tokens
        self._inference = services.inference
        self._metrics = metrics
        most = settings.max_request_bytes
        self._max_bytes = {
            Format.ARROW: most,
            Format.RECORDS: min(most, settings.max_json_bytes),
        }
        self._limits = TableLimits(settings.max_decoded_bytes, settings.max_columns)
        self._log = structlog.get_logger(__name__).bind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, whatever happens."""
        started = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = bind_request_id(headers.get(b"x-request-id"))
        request = _Request(scope, headers, receive)
        answer = await self._answer(request)
        await send_answer(send, answer, request_id)
        seconds = time.perf_counter() - started
        self._metrics.count_inference(request.pipeline, answer.status, seconds)
        self._log.debug(
            "inference answered",
            pipeline=request.pipeline,
            status=answer.status,
            duration_ms=seconds * 1000,
        )

    async def _answer(self, request: _Request) -> Answer:
        try:
            return await self._infer(request)
        except ByopError as error:
            return problem_answer(error, source="engine")
        except ClientGoneError:
            return Answer(_CLIENT_GONE, b"")
        except Exception:  # noqa: BLE001 - the request boundary
            self._log.exception("inference failed", pipeline=request.pipeline)
            return problem_answer(InternalError(), source="engine")

    async def _infer(self, request: _Request) -> Answer:
        route = await self._route(request)
        headers = request.headers
        require_plain(headers)
        selection = selection_of_query(request.scope["query_string"])
        given = format_of_body(headers.get(b"content-type"))
        wanted = format_of_answer(headers.get(b"accept"), given)
        limit = self._max_bytes[given]
        with self._inference.admit(route) as admission:
            body = await read_body(
                request.receive,
                headers.get(b"content-length"),
                limit_bytes=limit,
                admit=admission.take,
            )
            started = time.perf_counter_ns()
            inputs = await self._decode(given, body, route.inputs, admission)
            parse_ns = time.perf_counter_ns() - started
            record = await self._while_connected(request.receive, route, inputs, parse_ns)
            size = record.inputs.get_total_buffer_size() + record.outputs.get_total_buffer_size()
            encoded = await _off_loop(
                size >= _LARGE_TABLE_BYTES, encode_table, wanted, [record], selection
            )
        return Answer(200, encoded, wanted.value)

    async def _decode(
        self, given: Format, body: bytes, schema: pa.Schema | None, admission: Admission
    ) -> pa.RecordBatch:
        """Return the table in ``body``; what it decodes to is admitted first."""
        if given is Format.RECORDS:
            is_large = len(body) >= _LARGE_JSON_BYTES
            return await _off_loop(is_large, decode_json, body, schema, self._limits)
        table = IncomingTable(body, self._limits)
        size = _LARGE_TABLE_BYTES
        if len(body) < _LARGE_TABLE_BYTES and not table.stands_for_more:
            with suppress(TooLargeError):
                size = table.measured(max_bytes=_LARGE_TABLE_BYTES)
        is_large = size >= _LARGE_TABLE_BYTES
        if is_large:
            size = await asyncio.to_thread(table.measured, max_bytes=self._limits.decoded_bytes)
        if size > BUFFERED_BYTES:
            admission.hold(size)
        return await _off_loop(is_large, decode_arrow, table, schema, admission.grow)

    async def _route(self, request: _Request) -> InferenceRoute:
        """Return what runs at the request's path for its caller."""
        if request.scope["method"] != "POST":
            raise MethodNotAllowedError(request.scope["method"], "POST")
        principal = self._tokens.verify(bearer_token(request.headers.get(b"authorization")))
        path: str = request.scope["path"][len(INFER_PREFIX) :]
        address, _, pipeline = path.partition("/")
        if not pipeline or "/" in pipeline:
            raise NotFoundError("inference path", path[:200])
        if self._inference.knows(principal, address):
            route = self._inference.route(principal, address, pipeline)
        else:
            route = await asyncio.to_thread(self._inference.route, principal, address, pipeline)
        request.pipeline = pipeline
        return route

    async def _while_connected(
        self, receive: Receive, route: InferenceRoute, inputs: pa.RecordBatch, parse_ns: int
    ) -> InferenceRecord:
        """Return the pipeline's record, or give the inference up when the client leaves."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that awaits runs in a task
        watch = DisconnectWatch(receive, task)
        try:
            return await self._inference.infer(route, inputs, parse_ns=parse_ns)
        except asyncio.CancelledError:
            if not watch.is_disconnected:
                raise
            task.uncancel()
            raise ClientGoneError from None
        finally:
            watch.stop()


async def _off_loop(
    is_large: bool,
    function: Callable[_P, _T],
    *args: _P.args,
    **kwargs: _P.kwargs,
) -> _T:
    """Return what ``function`` gives, called in a thread when its work is large."""
    if not is_large:
        return function(*args, **kwargs)
    return await asyncio.to_thread(function, *args, **kwargs)
