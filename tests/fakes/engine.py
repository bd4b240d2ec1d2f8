"""An engine whose models are plain functions of this process."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from byop.domain.deployments import EngineStatus, ReplicaStatus, RunStatus
from byop.domain.identifiers import DeploymentId, ModelVersionId
from byop.domain.models import Signature
from byop.errors import (
    ByopError,
    ModelError,
    ModelFailedError,
    ModelLoadFailedError,
    ModelNotRunningError,
)
from byop.ports.engine import DeploymentLaunch, ModelLaunch, Prediction, tell_nobody
from byop.tables.arrays import from_arrays, to_arrays

Arrays = dict[str, np.ndarray[Any, Any]]
PlainModel = Callable[[Arrays], Arrays]

ELAPSED_NS = 1000


class FakeEngine:
    """Implements ``ports.engine.Engine``: a deployment runs as soon as it is started.

    ``models`` maps a model's name to its function; a name that is not in it fails to load.
    ``starts`` and ``stops`` record the calls. ``statuses`` overrides what ``status`` tells, and
    ``problem`` is raised by ``start`` once it is set.
    """

    def __init__(
        self,
        models: Mapping[str, PlainModel],
        *,
        signatures: Mapping[str, Signature] | None = None,
    ) -> None:
        self.models = dict(models)
        self.signatures = dict(signatures or {})
        self.starts: list[DeploymentLaunch] = []
        self.stops: list[DeploymentId] = []
        self.statuses: dict[DeploymentId, EngineStatus] = {}
        self.problem: ByopError | None = None
        self.is_closed = False
        self._running: dict[DeploymentId, DeploymentLaunch] = {}

    async def open(self) -> None:
        """Do nothing: there is no process to start."""

    def start(
        self, launch: DeploymentLaunch, *, on_in_use: Callable[[], None] = tell_nobody
    ) -> None:
        if self.problem is not None:
            raise self.problem
        self.starts.append(launch)
        self._running[launch.deployment_id] = launch
        on_in_use()

    def stop(self, deployment_id: DeploymentId) -> None:
        self.stops.append(deployment_id)
        self._running.pop(deployment_id, None)
        self.statuses.pop(deployment_id, None)

    def status(self, deployment_id: DeploymentId) -> EngineStatus | None:
        launch = self._running.get(deployment_id)
        if launch is None:
            return None
        if deployment_id in self.statuses:
            return self.statuses[deployment_id]
        replicas = tuple(
            self._replica(model, number)
            for model in launch.models
            for number in range(launch.replica_count)
        )
        is_broken = any(replica.status is RunStatus.ERROR for replica in replicas)
        return EngineStatus(RunStatus.ERROR if is_broken else RunStatus.RUNNING, replicas)

    def signature(
        self, deployment_id: DeploymentId, model_version_id: ModelVersionId
    ) -> Signature | None:
        model = self._find(deployment_id, model_version_id)
        return None if model is None else self._signature(model)

    def logs(
        self, deployment_id: DeploymentId, model_version_id: ModelVersionId, *, lines: int
    ) -> list[str]:
        model = self._find(deployment_id, model_version_id)
        return [] if model is None else [f"{model.name} was started"][:lines]

    def probe(self, launch: ModelLaunch, *, timeout_s: float) -> Signature:
        del timeout_s
        if launch.name not in self.models:
            raise ModelLoadFailedError(launch.name, "there is no such function")
        return self._signature(launch)

    def require_room(self, deployment_id: DeploymentId, model_version_id: ModelVersionId) -> None:
        """Do nothing: a plain function has no queue."""

    async def predict(
        self,
        deployment_id: DeploymentId,
        model_version_id: ModelVersionId,
        inputs: pa.RecordBatch,
        *,
        deadline_s: float,
    ) -> Prediction:
        del deadline_s
        await asyncio.sleep(0)
        model = self._find(deployment_id, model_version_id)
        if model is None or model.name not in self.models:
            raise ModelNotRunningError(str(model_version_id), "is not deployed here")
        try:
            found = self.models[model.name](to_arrays(inputs))
        except ModelError:
            raise
        except Exception as error:
            raise ModelFailedError(model.name, f"{type(error).__name__}: {error}") from error
        outputs = from_arrays(found, self._signature(model).outputs, rows=inputs.num_rows)
        return Prediction(outputs, ELAPSED_NS)

    async def close(self, *, drain_s: float) -> None:
        del drain_s
        self._running.clear()
        self.is_closed = True

    def _find(
        self, deployment_id: DeploymentId, model_version_id: ModelVersionId
    ) -> ModelLaunch | None:
        launch = self._running.get(deployment_id)
        models = () if launch is None else launch.models
        return next((m for m in models if m.model_version_id == model_version_id), None)

    def _signature(self, model: ModelLaunch) -> Signature:
        return self.signatures.get(model.name, model.signature)

    def _replica(self, model: ModelLaunch, number: int) -> ReplicaStatus:
        is_known = model.name in self.models
        return ReplicaStatus(
            name=f"{model.name}-{number}",
            model_version_id=model.model_version_id,
            status=RunStatus.RUNNING if is_known else RunStatus.ERROR,
            reason=None if is_known else f"model {model.name!r}: there is no such function",
        )
