"""Inference routes: what runs at which address, in memory, so that no request asks a database."""

from dataclasses import dataclass
from threading import Lock

import pyarrow as pa

from byop.domain.identifiers import DeploymentId, PipelineId, WorkspaceId
from byop.steps.walk import RunningModelStep


@dataclass(frozen=True, slots=True)
class InferenceRoute:
    """One deployed pipeline. ``inputs`` is the first step's declared schema, None if unknown."""

    address: str
    pipeline_name: str
    pipeline_id: PipelineId
    deployment_id: DeploymentId
    workspace_id: WorkspaceId
    topic: str
    pipeline_version: str
    steps: tuple[RunningModelStep, ...]

    @property
    def inputs(self) -> pa.Schema | None:
        """Declared schema of what a request must hold."""
        return self.steps[0].signature.inputs


class RouteTable:
    """Routes by address. Replaced whole on a change, so that readers need no lock."""

    def __init__(self) -> None:
        self._routes: dict[str, InferenceRoute] = {}
        self._changing = Lock()

    def get(self, address: str) -> InferenceRoute | None:
        """Return the route at ``address`` (``{deployment name}-{id}``)."""
        return self._routes.get(address)

    def put(self, route: InferenceRoute) -> None:
        """Add the route, in place of the deployment's earlier one."""
        with self._changing:
            kept = self._without(route.deployment_id)
            self._routes = {**kept, route.address: route}

    def remove(self, deployment_id: DeploymentId) -> None:
        """Forget the deployment's route."""
        with self._changing:
            self._routes = self._without(deployment_id)

    def _without(self, deployment_id: DeploymentId) -> dict[str, InferenceRoute]:
        return {
            address: route
            for address, route in self._routes.items()
            if route.deployment_id != deployment_id
        }
