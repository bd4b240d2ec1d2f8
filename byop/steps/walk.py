"""Walking the steps of a pipeline: the output of one is the input of the next."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from byop.domain.identifiers import DeploymentId, ModelVersionId
from byop.domain.models import ModelVersion, Signature
from byop.errors import ModelInputRejectedError
from byop.ports.engine import Engine
from byop.tables.columns import conform

_LEAST_S = 0.001


@dataclass(frozen=True, slots=True)
class RunningModelStep:
    """A model step whose model runs: all that a request needs, resolved once at deployment.

    ``label`` is the JSON text for ``metadata.last_model``.
    """

    model_version_id: ModelVersionId
    model_name: str
    signature: Signature
    label: str


def running_model_step(version: ModelVersion) -> RunningModelStep:
    """Return the step that runs ``version``."""
    facts = {"model_name": version.name, "model_sha": version.sha}
    return RunningModelStep(
        model_version_id=version.id,
        model_name=version.name,
        signature=version.signature,
        label=json.dumps(facts, separators=(",", ":")),
    )


@dataclass(frozen=True, slots=True)
class WalkedSteps:
    """The last step's outputs and each step's nanoseconds."""

    outputs: pa.RecordBatch
    elapsed_ns: tuple[int, ...]


async def walk_steps(
    engine: Engine,
    deployment_id: DeploymentId,
    steps: Sequence[RunningModelStep],
    inputs: pa.RecordBatch,
    *,
    deadline_s: float,
) -> WalkedSteps:
    """Return what the steps make of ``inputs``, which fit the first one's input schema.

    Between steps, columns that the next model does not declare are dropped; one that it declares
    and the last step did not give fails the request. A step has what the ones before left of
    ``deadline_s``.

    Raises:
        ModelError: A step failed.
    """
    batch = inputs
    elapsed: list[int] = []
    left_s = deadline_s
    start_s = time.monotonic()
    for index, step in enumerate(steps):
        if index:
            batch = _hand_over(batch, step)
            left_s = max(deadline_s - (time.monotonic() - start_s), _LEAST_S)
        answer = await engine.predict(
            deployment_id, step.model_version_id, batch, deadline_s=left_s
        )
        batch = answer.outputs
        elapsed.append(answer.elapsed_ns)
    return WalkedSteps(outputs=batch, elapsed_ns=tuple(elapsed))


def _hand_over(batch: pa.RecordBatch, step: RunningModelStep) -> pa.RecordBatch:
    wanted = step.signature.inputs
    if wanted is None:
        return batch
    given = batch.schema.names
    for name in wanted.names:
        if name not in given:
            raise ModelInputRejectedError(
                step.model_name,
                f"needs column {name!r}; the step before gives {', '.join(map(repr, given))}",
            )
    handed: pa.RecordBatch = conform(batch.select(wanted.names), wanted)
    return handed
