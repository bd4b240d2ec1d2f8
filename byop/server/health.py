"""Whether the server lives, whether it can serve, and its metrics. None of them needs a token."""

import time
from collections.abc import Callable

import structlog
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

import byop
from byop.errors import ByopError
from byop.server.metrics import Metrics

_log = structlog.get_logger(__name__)


def health_routes(
    *, check_ready: Callable[[], None], metrics: Metrics, isolation: str
) -> APIRouter:
    """Return the routes. ``check_ready`` raises what keeps the server from serving; may block."""
    router = APIRouter(tags=["server"])
    started = time.monotonic()

    @router.head("/health", include_in_schema=False)
    @router.get("/health", summary="Whether the process lives")
    async def health() -> dict[str, object]:
        """Answer as long as the event loop turns."""
        uptime_s = round(time.monotonic() - started, 3)
        return {
            "status": "ok",
            "version": byop.__version__,
            "uptime_s": uptime_s,
            "isolation": isolation,
        }

    @router.head("/ready", include_in_schema=False)
    @router.get("/ready", summary="Whether requests can be served")
    def ready() -> JSONResponse:
        """Answer 200 when users and the inference log can be read, else 503."""
        try:
            check_ready()
        except ByopError as error:
            _log.warning("not ready", why=error.message)
            return JSONResponse({"status": "not ready", "error": error.message}, status_code=503)
        return JSONResponse({"status": "ready"})

    @router.get("/metrics", summary="Prometheus metrics", response_class=Response)
    def expose() -> Response:
        """Return every metric as text."""
        return Response(metrics.exposition(), media_type=_EXPOSITION)

    return router


_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
