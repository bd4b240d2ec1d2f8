import json
from collections.abc import Mapping

import pytest

from byop.domain.identifiers import ModelVersionId
from byop.errors import InvalidDeploymentConfigError
from byop.wire.engine_config import model_key, parse_engine_config

MODELS = {"llm-4": ModelVersionId(4), "listener-9": ModelVersionId(9)}
CANARY = "sk-canary-0017"


def _nested(image: Mapping[str, object]) -> dict[str, object]:
    return {"engine": {"replicas": 2}, "enginelb": {}, "engineAux": {"images": {"llm-4": image}}}


def test_nothing_given_is_one_replica_without_limits() -> None:
    nothing: list[dict[str, object] | str | None] = [None, {}, "", "{}"]
    for raw in nothing:
        config = parse_engine_config(raw, MODELS)
        assert config.replica_count == 1
        assert config.engine.cpus is None
        assert config.models == {}


def test_nested_form_of_the_sdk_is_read() -> None:
    amount = {"cpu": 0.5, "memory": "1Gi"}
    image = {
        "resources": {"limits": amount, "requests": amount},
        "env": [{"name": "OPENAI_API_KEY", "value": CANARY}],
    }
    config = parse_engine_config(_nested(image), MODELS)
    assert config.replica_count == 2
    resources = config.models[ModelVersionId(4)]
    assert (resources.cpus, resources.memory_bytes) == (0.5, 1024**3)
    assert dict(resources.environment) == {"OPENAI_API_KEY": CANARY}


def test_flat_form_of_the_seed_is_read() -> None:
    config = parse_engine_config('{"cpus": 1, "replica_count": 3, "memory": "999Mi"}', MODELS)
    assert config.replica_count == 3
    assert config.engine.cpus == 1
    assert config.engine.memory_bytes == 999 * 1024**2


def test_flat_sidekick_settings_name_a_model() -> None:
    raw = {"sidekick_env": {"model": "llm", "environment": {"KEY": CANARY}}}
    config = parse_engine_config(raw, MODELS)
    assert dict(config.models[ModelVersionId(4)].environment) == {"KEY": CANARY}


def test_environment_value_that_is_an_object_becomes_json() -> None:
    image = {"env": [{"name": "CREDENTIALS", "value": {"type": "service_account", "x": None}}]}
    value = parse_engine_config(_nested(image), MODELS).models[ModelVersionId(4)].environment
    assert json.loads(value["CREDENTIALS"]) == {"type": "service_account", "x": None}


def test_kept_text_holds_no_environment_value() -> None:
    image = {"env": [{"name": "OPENAI_API_KEY", "value": CANARY}]}
    config = parse_engine_config(_nested(image), MODELS)
    assert CANARY not in config.raw
    assert "OPENAI_API_KEY" in config.raw
    assert CANARY not in repr(config)
    flat = parse_engine_config({"sidekick_env": {"llm-4": {"K": CANARY}}}, MODELS)
    assert CANARY not in flat.raw


@pytest.mark.parametrize(
    "raw",
    [
        {"engine": {}, "engineAux": {"env": {"K": CANARY}}},
        {"engine": {}, "enginelb": {"env": [{"name": "K", "value": CANARY}]}},
        {"engine": {}, "others": [{"environment": CANARY}]},
        {"cpus": 1, "env": {"K": CANARY}},
        {"sidekick_env": {"model": "llm", "environment": {"K": CANARY}}},
        {"cpus": 1, "sidekick_envs": {"llm": {"K": CANARY}}},
        {"engine": {}, "engineAux": {"variables": [CANARY, {"value": CANARY}]}},
    ],
)
def test_kept_text_holds_no_value_of_an_environment_in_any_place(raw: dict[str, object]) -> None:
    assert CANARY not in parse_engine_config(raw, MODELS).raw


def test_kept_text_holds_amounts_and_kinds() -> None:
    given = {"cpus": 1, "memory": "1.5Gi", "arch": "x86", "image": "registry/engine:v2"}
    assert json.loads(parse_engine_config(given, MODELS).raw) == given


@pytest.mark.parametrize("field", ["cpus", "memory", "replica_count"])
@pytest.mark.parametrize("value", [{"env": CANARY}, [CANARY], CANARY])
def test_credential_in_place_of_a_number_is_not_repeated(field: str, value: object) -> None:
    with pytest.raises(InvalidDeploymentConfigError, match=field) as caught:
        parse_engine_config({field: value}, MODELS)
    assert CANARY not in f"{caught.value} {caught.value.facts}"


def test_credential_in_place_of_a_model_is_not_repeated() -> None:
    with pytest.raises(InvalidDeploymentConfigError, match="expected one of") as caught:
        parse_engine_config({"sidekick_env": {"model": CANARY, "environment": {}}}, MODELS)
    assert CANARY not in f"{caught.value} {caught.value.facts}"


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ("nonsense", "not valid JSON"),
        ('{"cpus": 1, "cpus": 2}', "twice"),
        ('{"cpus": NaN}', "not valid JSON"),
        ({"engine": 3}, "must be an object"),
        ({"replica_count": 0}, "1 to 64"),
        ({"replica_count": True}, "1 to 64"),
        ({"cpus": "many"}, "no number of CPUs"),
        ({"cpus": float("nan")}, "no number of CPUs"),
        ({"memory": "much"}, "no amount of memory"),
        ({"engineAux": {"images": {"other-1": {}}}}, "is no model of this pipeline"),
        (_nested({"env": [{"value": "x"}]}), "no variable name"),
        (_nested({"env": [{"name": "A=B", "value": "x"}]}), "no variable name"),
        (_nested({"env": {"": "x"}}), "no variable name"),
        (_nested({"env": {"-----BEGIN KEY-----\nMII": "x"}}), "no variable name"),
        (_nested({"env": [{"name": "A", "value": "x\0y"}]}), "NUL"),
    ],
)
def test_wrong_value_is_told(raw: dict[str, object] | str, told: str) -> None:
    with pytest.raises(InvalidDeploymentConfigError, match=told):
        parse_engine_config(raw, MODELS)


def test_model_key_joins_name_and_version_id() -> None:
    assert model_key("llm", 4) == "llm-4"
