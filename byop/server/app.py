"""The application: inference is raw ASGI, everything else is FastAPI behind it."""

from collections.abc import Awaitable, Callable

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from byop.server.http_answers import send_answer
from byop.server.http_guard import HttpGuard, allowed_hosts
from byop.server.infer import INFER_PREFIX, InferenceEndpoint
from byop.server.management import ManagementEndpoint, management_app
from byop.server.metrics import Metrics
from byop.server.request_ids import bind_request_id
from byop.server.services import Services
from byop.settings import Settings

_log = structlog.get_logger(__name__)

LifeCycleStep = Callable[[], Awaitable[None]]


def create_app(
    services: Services,
    *,
    settings: Settings,
    open: LifeCycleStep,  # noqa: A002 - the pair is open and close
    close: LifeCycleStep,
    check_ready: Callable[[], None],
    isolation: str = "process",
) -> ASGIApp:
    """Return the ASGI application.

    Args:
        services: The use cases.
        settings: Limits and names.
        open: Awaited once before the first request.
        close: Awaited once after the last request.
        check_ready: Raises what keeps the server from serving; called in a thread.
        isolation: The level that workers are under.
    """
    metrics = Metrics()
    guard = HttpGuard(allowed_hosts(settings))
    infer = InferenceEndpoint(services, metrics=metrics, settings=settings)
    routes = management_app(
        services,
        settings=settings,
        check_ready=check_ready,
        metrics=metrics,
        isolation=isolation,
    )
    manage = ManagementEndpoint(routes, services=services, metrics=metrics)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            refusal = guard.refusal(scope)
            if refusal is not None:
                metrics.count_request("other", "refused", refusal.status, 0.0)
                await send_answer(send, refusal, bind_request_id(None))
                return
            is_inference = scope["path"].startswith(INFER_PREFIX)
            with metrics.in_progress.track_inprogress():
                await (infer if is_inference else manage)(scope, receive, send)
        elif kind == "lifespan":
            await _live(receive, send, open, close)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    return application


async def _live(receive: Receive, send: Send, start: LifeCycleStep, end: LifeCycleStep) -> None:
    """Run the life-cycle steps when the server says so; a failed one ends the server."""
    for phase, step in (("startup", start), ("shutdown", end)):
        await receive()
        try:
            await step()
        except Exception as error:  # noqa: BLE001 - told to the server, which ends
            _log.exception("life cycle step failed", phase=phase)
            await send({"type": f"lifespan.{phase}.failed", "message": str(error)})
            return
        await send({"type": f"lifespan.{phase}.complete"})
