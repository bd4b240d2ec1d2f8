"""Reading the inference log of a pipeline."""

from dataclasses import dataclass

from byop.domain.identifiers import PipelineId
from byop.domain.users import Principal
from byop.errors import InvalidInputError, NotFoundError
from byop.ports.inference_log import InferenceLog, LogOrder, LogPage, LogQuery
from byop.ports.metadata import MetadataStore
from byop.services.access import Access

_MAX_PAGE = 10_000


def topic_of(pipeline_id: PipelineId) -> str:
    """Return the log topic of a pipeline. It follows the id, so a name used again starts afresh."""
    return f"pipeline-{pipeline_id}"


@dataclass(frozen=True, slots=True)
class LogRequest:
    """Which rows of which pipeline. Both times or none; milliseconds since 1970 UTC."""

    pipeline_name: str
    workspace_id: int
    order: LogOrder = LogOrder.DESCENDING
    page_size: int = 1000
    cursor: str | None = None
    start_ms: int | None = None
    end_ms: int | None = None


class InferenceLogService:
    """Use cases on the inference log."""

    def __init__(self, *, metadata: MetadataStore, log: InferenceLog) -> None:
        self._metadata = metadata
        self._log = log
        self._access = Access(metadata)

    def page(self, principal: Principal, request: LogRequest) -> LogPage:
        """Return a page of the pipeline's log. Blocking.

        Raises:
            InvalidInputError: One of the times without the other, or a page size out of bounds.
            NotFoundError: No such pipeline for this caller.
        """
        if (request.start_ms is None) != (request.end_ms is None):
            raise InvalidInputError("start_time and end_time must be given together")
        if not 1 <= request.page_size <= _MAX_PAGE:
            raise InvalidInputError(f"page_size must be 1 to {_MAX_PAGE}, got {request.page_size}")
        workspace = self._access.workspace(principal, request.workspace_id)
        pipeline = self._metadata.pipelines.find(workspace.id, request.pipeline_name)
        if pipeline is None:
            raise NotFoundError("pipeline", request.pipeline_name)
        return self._log.read(
            LogQuery(
                topic=topic_of(pipeline.id),
                order=request.order,
                limit=request.page_size,
                cursor=request.cursor,
                start_ms=request.start_ms,
                end_ms=request.end_ms,
            )
        )
