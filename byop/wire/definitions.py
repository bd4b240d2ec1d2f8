"""Pipeline definitions: steps as JSON.

Source: reference/wallaroo-sdk.md 2.4 and seed 001, "Create Pipeline in a Workspace".
"""

from collections.abc import Mapping, Sequence

from byop.domain.models import ModelReference
from byop.domain.pipelines import ModelStep, Step
from byop.errors import InvalidPayloadError, InvalidPipelineError
from byop.json_text import read_json


def parse_definition(raw: Mapping[str, object] | str | None) -> tuple[Step, ...]:
    """Return the steps of a definition given as JSON object, as JSON text, or ``{}`` for none.

    Raises:
        InvalidPipelineError: It is no object, or has a step that is unknown or incomplete.
    """
    if isinstance(raw, str):
        raw = _parse_text(raw)
    if not raw:
        return ()
    steps = raw.get("steps", [])
    if not isinstance(steps, list):
        raise InvalidPipelineError(f"definition.steps must be a list, got {type(steps).__name__}")
    return tuple(_parse_step(index, step) for index, step in enumerate(steps))


def definition_of(name: str, steps: Sequence[Step]) -> dict[str, object]:
    """Return the JSON object of a pipeline's steps."""
    return {"id": name, "steps": [_step_json(step) for step in steps]}


def model_json(model: ModelReference) -> dict[str, str]:
    """Return how JSON names a model version."""
    return {"name": model.name, "version": model.version, "sha": model.sha}


def parse_model(raw: object, where: str) -> ModelReference:
    """Return the model version that JSON names.

    Raises:
        InvalidPipelineError: A key is missing or no text; ``where`` says which one in the message.
    """
    if not isinstance(raw, Mapping):
        raise InvalidPipelineError(f"{where} must be an object with name, version and sha")
    values = {key: raw.get(key) for key in ("name", "version", "sha")}
    for key, value in values.items():
        if not isinstance(value, str) or not value:
            raise InvalidPipelineError(f"{where}.{key} must be a text")
    return ModelReference(**{key: str(value) for key, value in values.items()})


def _parse_text(text: str) -> Mapping[str, object]:
    try:
        parsed = read_json(text) if text.strip() else {}
    except InvalidPayloadError as error:
        raise InvalidPipelineError(f"definition: {error}") from None
    if not isinstance(parsed, dict):
        raise InvalidPipelineError("definition must be a JSON object")
    return parsed


def _parse_step(index: int, raw: object) -> Step:
    where = f"definition.steps[{index}]"
    if not isinstance(raw, Mapping) or len(raw) != 1:
        raise InvalidPipelineError(f"{where} must be an object with one key, the kind of step")
    kind, body = next(iter(raw.items()))
    if kind != "ModelInference":
        raise InvalidPipelineError(
            f"{where}: step {kind!r} is not supported; supported: ModelInference"
        )
    models = body.get("models") if isinstance(body, Mapping) else None
    if not isinstance(models, list) or len(models) != 1:
        raise InvalidPipelineError(f"{where}.ModelInference.models must hold exactly one model")
    return ModelStep(parse_model(models[0], f"{where}.ModelInference.models[0]"))


def _step_json(step: Step) -> dict[str, object]:
    return {"ModelInference": {"models": [model_json(step.model)]}}
