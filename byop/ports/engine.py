"""The engine: runs model versions in replicas and predicts with them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from byop.domain.deployments import EngineStatus, ModelResources
from byop.domain.identifiers import DeploymentId, ModelVersionId
from byop.domain.models import Framework, Signature


@dataclass(frozen=True, slots=True)
class ModelLaunch:
    """All that a worker needs to load one model version.

    Attributes:
        path: The unpacked project folder (custom), or the model file (onnx, python).
        python: Interpreter of its environment.
        signature: Declared schemas; the worker completes what is None if the model tells.
    """

    model_version_id: ModelVersionId
    name: str
    version: str
    sha: str
    framework: Framework
    path: Path
    python: Path
    signature: Signature
    resources: ModelResources


@dataclass(frozen=True, slots=True)
class DeploymentLaunch:
    """All that the engine needs to run a deployment: each model in ``replica_count`` replicas."""

    deployment_id: DeploymentId
    name: str
    replica_count: int
    models: tuple[ModelLaunch, ...]


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's answer: as many rows as went in, in the declared output types."""

    outputs: pa.RecordBatch
    elapsed_ns: int


def tell_nobody() -> None:
    """Do nothing."""


class Engine(Protocol):
    """Starts, watches and calls replicas.

    ``require_room``, ``predict`` and ``close`` run on the engine's event loop; the rest is safe
    from any thread.
    """

    def start(
        self, launch: DeploymentLaunch, *, on_in_use: Callable[[], None] = tell_nobody
    ) -> None:
        """Begin to run the deployment and return at once; ``status`` tells how it goes.

        A deployment that runs already under the id is replaced: its new replicas start first and
        the old ones drain, so that no request fails in between. ``on_in_use`` is called, from any
        thread and quick, when requests are to go to the new models: now when nothing runs under
        the id, else when they are up, and never when they do not come up, are replaced or stopped.
        """

    def stop(self, deployment_id: DeploymentId) -> None:
        """Drain and end the deployment's replicas and return at once. Idempotent.

        From this call on ``status`` answers None and ``predict`` raises ModelNotRunningError.
        """

    def status(self, deployment_id: DeploymentId) -> EngineStatus | None:
        """Return the state of the deployment, None when it was not started here."""

    def signature(
        self, deployment_id: DeploymentId, model_version_id: ModelVersionId
    ) -> Signature | None:
        """Return the schemas as the running model told them, None before it runs."""

    def logs(
        self, deployment_id: DeploymentId, model_version_id: ModelVersionId, *, lines: int
    ) -> list[str]:
        """Return the last lines that the model's workers wrote, environment values masked."""

    def probe(self, launch: ModelLaunch, *, timeout_s: float) -> Signature:
        """Load the model once in a worker of its own and return its schemas. Blocking.

        Raises:
            ModelLoadFailedError: With the worker's reason.
            ServerStoppingError: The engine was closed before the model was loaded.
        """

    def require_room(self, deployment_id: DeploymentId, model_version_id: ModelVersionId) -> None:
        """Raise OverloadedError when ``predict`` would now: asked before a large body is read."""

    async def predict(
        self,
        deployment_id: DeploymentId,
        model_version_id: ModelVersionId,
        inputs: pa.RecordBatch,
        *,
        deadline_s: float,
    ) -> Prediction:
        """Return the model's answer to ``inputs``, which fit its input schema.

        Cancelling the call gives up the request: one that waits is never sent.

        Raises:
            ModelNotRunningError: No replica is up, or none came up within the deadline.
            OverloadedError: The queue is full; the request was not started.
            ModelError: The model failed it; one of the leaves.
        """

    async def close(self, *, drain_s: float) -> None:
        """Let running requests end for up to ``drain_s``, then end every worker."""
