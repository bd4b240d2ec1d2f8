import asyncio
from pathlib import Path

import pyarrow as pa
from typing_extensions import override

from byop.domain.deployments import ModelResources
from byop.domain.identifiers import DeploymentId, ModelVersionId
from byop.domain.models import Framework, Signature
from byop.ports.engine import DeploymentLaunch, ModelLaunch, Prediction
from byop.steps.walk import RunningModelStep, walk_steps
from tests.fakes.engine import FakeEngine

COLUMN = pa.schema([("x", pa.float64())])
DEPLOYMENT = DeploymentId(1)
DEADLINE_S = 5.0
STEP_S = 0.02


class SlowEngine(FakeEngine):
    """Takes its time, and remembers how much each call was given."""

    def __init__(self) -> None:
        super().__init__({"m": lambda arrays: arrays})
        self.deadlines_s: list[float] = []

    @override
    async def predict(
        self,
        deployment_id: DeploymentId,
        model_version_id: ModelVersionId,
        inputs: pa.RecordBatch,
        *,
        deadline_s: float,
    ) -> Prediction:
        self.deadlines_s.append(deadline_s)
        await asyncio.sleep(STEP_S)
        return await super().predict(deployment_id, model_version_id, inputs, deadline_s=deadline_s)


async def test_step_has_what_the_steps_before_left_of_the_deadline() -> None:
    engine = SlowEngine()
    version = ModelVersionId(1)
    signature = Signature(COLUMN, COLUMN)
    engine.start(DeploymentLaunch(DEPLOYMENT, "d-1", 1, (launch(version, signature),)))
    step = RunningModelStep(version, "m", signature, "{}")
    batch = pa.RecordBatch.from_pylist([{"x": 1.0}], schema=COLUMN)
    walked = await walk_steps(engine, DEPLOYMENT, [step] * 3, batch, deadline_s=DEADLINE_S)
    assert walked.outputs.to_pylist() == [{"x": 1.0}]
    first, second, third = engine.deadlines_s
    assert first == DEADLINE_S
    assert second <= DEADLINE_S - STEP_S / 2
    assert third <= second - STEP_S / 2


async def test_last_moment_is_given_to_a_step_when_nothing_is_left() -> None:
    engine = SlowEngine()
    version = ModelVersionId(1)
    signature = Signature(COLUMN, COLUMN)
    engine.start(DeploymentLaunch(DEPLOYMENT, "d-1", 1, (launch(version, signature),)))
    step = RunningModelStep(version, "m", signature, "{}")
    batch = pa.RecordBatch.from_pylist([{"x": 1.0}], schema=COLUMN)
    await walk_steps(engine, DEPLOYMENT, [step] * 2, batch, deadline_s=STEP_S / 4)
    assert 0 < engine.deadlines_s[1] < STEP_S / 4


def launch(version: ModelVersionId, signature: Signature) -> ModelLaunch:
    here = Path(__file__)
    return ModelLaunch(
        model_version_id=version,
        name="m",
        version="v",
        sha="s",
        framework=Framework.PYTHON,
        path=here,
        python=here,
        signature=signature,
        resources=ModelResources(),
    )
