"""Pipelines: create versions of them."""

import uuid
from collections.abc import Sequence

from byop.domain.identifiers import require_dns_label
from byop.domain.pipelines import Pipeline, PipelineVersion, Step
from byop.domain.users import Principal
from byop.errors import NotFoundError
from byop.ports.clock import Clock
from byop.ports.metadata import MetadataStore
from byop.services.access import Access


class PipelineService:
    """Use cases on pipelines."""

    def __init__(self, *, metadata: MetadataStore, clock: Clock) -> None:
        self._metadata = metadata
        self._clock = clock
        self._access = Access(metadata)

    def create(
        self, principal: Principal, *, name: str, workspace_id: int, steps: Sequence[Step]
    ) -> tuple[Pipeline, PipelineVersion]:
        """Store a version; the first one under a name makes the pipeline.

        Raises:
            InvalidNameError: The name is no DNS label.
            NotFoundError: No such workspace, or a step names a model version that is not there.
        """
        workspace = self._access.workspace(principal, workspace_id)
        require_dns_label("pipeline", name)
        for step in steps:
            if self._metadata.models.find_version(workspace.id, step.model) is None:
                raise NotFoundError("model version", f"{step.model.name} {step.model.version}")
        return self._metadata.pipelines.add_version(
            name=name,
            workspace_id=workspace.id,
            owner=self._access.user(principal),
            version=str(uuid.uuid4()),
            steps=steps,
            created_at=self._clock.now(),
        )
