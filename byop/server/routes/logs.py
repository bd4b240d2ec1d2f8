"""The inference log, page by page (seed 001, "Pipeline Log Management")."""

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Request, Response

from byop.errors import InvalidInputError
from byop.ports.inference_log import LogOrder
from byop.server.auth import Caller, Wired
from byop.server.codecs import Format, encode_table, format_of_answer, selection_of_query
from byop.services.inference_logs import LogRequest
from byop.wire.shapes import GetLogs

router = APIRouter(prefix="/v1/api/pipelines", tags=["logs"])

_DEFAULT_PAGE = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@router.post(
    "/get_logs",
    summary="Read a pipeline's inference log",
    response_class=Response,
    responses={
        200: {
            "description": "Rows as pandas records, or as an Arrow file when Accept asks for it; "
            "headers x-iteration-status, unless that is All x-iteration-cursor, and "
            "x-iteration-missing, the number of rows that can no longer be read, when there are "
            "such",
            "content": {
                "application/json": {"schema": {"type": "array", "items": {"type": "object"}}},
                "application/vnd.apache.arrow.file": {},
            },
        }
    },
)
def get_logs(request: Request, caller: Caller, services: Wired, body: GetLogs) -> Response:
    """Return a page of rows; ``dataset[]`` and its companions work as for inference."""
    accept = request.headers.get("accept")
    wanted = format_of_answer(None if accept is None else accept.encode("latin-1"), Format.RECORDS)
    selection = selection_of_query(request.scope["query_string"])
    page = services.inference_logs.page(caller, _log_request(body))
    headers = {"x-iteration-status": page.status.value}
    if page.cursor is not None:
        headers["x-iteration-cursor"] = page.cursor
    if page.missing:
        headers["x-iteration-missing"] = str(sum(one.rows for one in page.missing))
    return Response(
        bytes(encode_table(wanted, page.records, selection)),
        media_type=wanted.value.decode(),
        headers=headers,
    )


def _log_request(body: GetLogs) -> LogRequest:
    """Return the request with times in whole milliseconds, so widened that no row is lost."""
    start = _since_epoch("start_time", body.start_time)
    end = _since_epoch("end_time", body.end_time)
    return LogRequest(
        pipeline_name=body.pipeline_id,
        workspace_id=body.workspace_id,
        order=LogOrder(body.order.capitalize()),
        page_size=_DEFAULT_PAGE if body.page_size is None else body.page_size,
        cursor=body.cursor or None,
        start_ms=None if start is None else start // _MILLISECOND,
        end_ms=None if end is None else -(-end // _MILLISECOND),
    )


def _since_epoch(field: str, text: str | None) -> timedelta | None:
    """Return the time since 1970 UTC; a time without an offset is UTC."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInputError(f"{field} {text[:80]!r} is no RFC 3339 time") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
