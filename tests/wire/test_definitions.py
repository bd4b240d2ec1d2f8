import json

import pytest

from byop.domain.models import ModelReference
from byop.domain.pipelines import ModelStep
from byop.errors import InvalidPipelineError
from byop.wire.definitions import definition_of, parse_definition

MODEL = {"name": "ccfraud", "version": "0b989008", "sha": "bc85ce"}
STEP = ModelStep(ModelReference(name="ccfraud", version="0b989008", sha="bc85ce"))
DEFINITION = {"steps": [{"ModelInference": {"models": [MODEL]}}]}


@pytest.mark.parametrize("raw", [{}, None, "", "{}", {"steps": []}])
def test_empty_definition_has_no_steps(raw: dict[str, object] | str | None) -> None:
    assert parse_definition(raw) == ()


@pytest.mark.parametrize("raw", [DEFINITION, json.dumps(DEFINITION)])
def test_model_step_is_read(raw: dict[str, object] | str) -> None:
    assert parse_definition(raw) == (STEP,)


def test_definition_round_trips() -> None:
    assert parse_definition(definition_of("p", [STEP, STEP])) == (STEP, STEP)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ("nonsense", "not valid JSON"),
        ("[1]", "must be a JSON object"),
        ({"steps": {}}, "must be a list"),
        ({"steps": [3]}, r"steps\[0\] must be an object"),
        ({"steps": [{"Teleport": {}}]}, "'Teleport' is not supported"),
        ({"steps": [{"ModelInference": {"models": []}}]}, "exactly one model"),
        ({"steps": [{"ModelInference": {"models": [{"name": "x"}]}}]}, "version must be a text"),
        ({"steps": [{"ModelInference": {"models": ["x"]}}]}, "name, version and sha"),
    ],
)
def test_wrong_definition_says_where(raw: dict[str, object] | str, told: str) -> None:
    with pytest.raises(InvalidPipelineError, match=told):
        parse_definition(raw)
