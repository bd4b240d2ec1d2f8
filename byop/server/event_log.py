"""Structured logs of the server process: one JSON object a line on stderr.

Events carry a request id and facts, never a body, a prompt, an answer or a token; tracebacks are
plain text without the frames' local variables. As a last line of defence every event is redacted,
before anything else sees it and once more when its traceback is text: fields whose name speaks of
a secret, the server's own secrets wherever they stand, and what looks like a credential.

Whatever else speaks on stderr speaks through the same chain: the standard library's loggers
(uvicorn's and asyncio's among them), warnings, and exceptions that nobody caught.
"""

import logging
import sys
import threading
from collections.abc import Callable
from types import TracebackType

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from byop.domain.credential_texts import scrub_credentials

Mask = Callable[[str], str]

_MASK = "***"
_SECRET_WORDS = ("password", "secret", "token", "authorization", "api_key", "credential")
_DEEPEST = 6
_LEFT_ALONE = frozenset({"exc_info", "stack_info", "_record", "_from_structlog"})
"""What structlog itself puts into an event, for its own later steps."""


def configure_logging(level: str, *, mask: Mask = str) -> None:
    """Send structlog's and the standard library's records to stderr from ``level`` on.

    ``mask`` removes the server's own secrets from a text.
    """
    number = logging.getLevelNamesMapping()[level]
    redact = Redaction(mask)
    shared: list[Processor] = [
        redact,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = [
        structlog.processors.format_exc_info,
        redact,
        structlog.processors.JSONRenderer(),
    ]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)
    _take_over_stderr()


class Redaction:
    """The processor that takes secrets out of an event."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Return ``event`` without secrets, whatever types its fields have."""
        for name, value in event.items():
            if name not in _LEFT_ALONE:
                event[name] = self._field(name, value, _DEEPEST)
        return event

    def _field(self, name: object, value: object, depth: int) -> object:
        if any(word in str(name).lower() for word in _SECRET_WORDS):
            return _MASK
        return self._value(value, depth)

    def _value(self, value: object, depth: int) -> object:
        match value:
            case None | bool() | int() | float():
                return value
            case str():
                return scrub_credentials(self._mask(value))
            case dict() if depth:
                return {
                    self._value(str(name), depth): self._field(name, inner, depth - 1)
                    for name, inner in value.items()
                }
            case list() | tuple() if depth:
                return [self._value(inner, depth - 1) for inner in value]
        return scrub_credentials(self._mask(repr(value)))


def _take_over_stderr() -> None:
    """Log what Python would otherwise print as it is."""
    log = structlog.get_logger(__name__)

    def tell(
        kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
    ) -> None:
        known = kind() if error is None else error
        log.critical("uncaught exception", exc_info=(kind, known, trace))

    sys.excepthook = tell
    threading.excepthook = lambda told: tell(told.exc_type, told.exc_value, told.exc_traceback)
    sys.unraisablehook = lambda told: tell(told.exc_type, told.exc_value, told.exc_traceback)
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a record that cannot be formatted is printed with its values
