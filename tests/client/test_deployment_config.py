import copy
import io
import json
import pprint

import pytest
from rich.console import Console

from byop.client import DeploymentConfig, DeploymentConfigBuilder
from byop.domain.deployments import parse_memory
from byop.domain.identifiers import ModelVersionId
from byop.errors import InvalidDeploymentConfigError
from byop.wire.engine_config import parse_engine_config


class Model:
    """Stands for an uploaded model version."""

    def __init__(self, name: str, version_id: int) -> None:
        self._name = name
        self._id = version_id

    def name(self) -> str:
        return self._name

    def id(self) -> int:
        return self._id


LLM = Model("llm", 4)
LISTENER = Model("toxicity", 9)


def test_seed_configuration_has_the_documented_json() -> None:
    config = (
        DeploymentConfigBuilder()
        .cpus(1)
        .memory("2Gi")
        .sidekick_cpus(LISTENER, 2)
        .sidekick_memory(LISTENER, "8Gi")
        .sidekick_cpus(LLM, 2)
        .sidekick_memory(LLM, "1Gi")
        .sidekick_env(LLM, {"APPLICATION_CREDENTIALS": str({"key": "value"})})
        .build()
    )
    both = {"cpu": 2, "memory": "8Gi"}
    assert config == {
        "engine": {
            "cpu": 1,
            "resources": {
                "limits": {"cpu": 1, "memory": "2Gi"},
                "requests": {"cpu": 1, "memory": "2Gi"},
            },
        },
        "enginelb": {},
        "engineAux": {
            "images": {
                "toxicity-9": {"resources": {"limits": both, "requests": both}},
                "llm-4": {
                    "resources": {
                        "limits": {"cpu": 2, "memory": "1Gi"},
                        "requests": {"cpu": 2, "memory": "1Gi"},
                    },
                    "env": [{"name": "APPLICATION_CREDENTIALS", "value": "{'key': 'value'}"}],
                },
            }
        },
    }
    assert json.loads(json.dumps(config)) == config


def test_every_setting_finds_its_documented_place() -> None:
    config = (
        DeploymentConfigBuilder(workspace_id=3)
        .replica_count(2)
        .replica_autoscale_min_max(maximum=5, minimum=1)
        .gpus(1)
        .lb_cpus(0.25)
        .lb_memory("256MiB")
        .deployment_label("gpu-pool")
        .arch("x86")
        .accel("cuda")
        .sidekick_gpus(LLM, 2)
        .sidekick_arch(LLM, "arm")
        .sidekick_accel(LLM, {"qaic": {"num_cores": 16}})
        .build()
    )
    engine = config["engine"]
    assert isinstance(engine, dict)
    assert engine == {
        "replicas": 2,
        "autoscale": {"replica_min": 1, "replica_max": 5, "type": "cpu"},
        "gpu": 1,
        "resources": {"limits": {"nvidia.com/gpu": 1}, "requests": {"nvidia.com/gpu": 1}},
        "node_selector": "gpu-pool",
        "arch": "x86",
        "accel": "cuda",
    }
    assert config["enginelb"] == {
        "resources": {
            "limits": {"cpu": 0.25, "memory": "256Mi"},
            "requests": {"cpu": 0.25, "memory": "256Mi"},
        }
    }
    assert config["engineAux"] == {
        "images": {
            "llm-4": {
                "resources": {"limits": {"nvidia.com/gpu": 2}, "requests": {"nvidia.com/gpu": 2}},
                "arch": "arm",
                "accel": {"qaic": {"num_cores": 16}},
                "node_selector": "gpu-pool",
            }
        }
    }
    assert config["workspace_id"] == 3


def test_server_reads_what_the_builder_builds() -> None:
    config = (
        DeploymentConfigBuilder()
        .replica_count(2)
        .cpus(0.5)
        .memory("999Mi")
        .sidekick_cpus(LLM, 2)
        .sidekick_memory(LLM, "1.5GiB")
        .sidekick_env(LLM, {"KEY": "v", "CREDENTIALS": {"a": 1}})
        .build()
    )
    read = parse_engine_config(config, {"llm-4": ModelVersionId(4)})
    model = read.models[ModelVersionId(4)]
    assert (read.replica_count, read.engine.cpus) == (2, 0.5)
    assert read.engine.memory_bytes == 999 * 1024**2
    assert (model.cpus, model.memory_bytes) == (2.0, 3 * 1024**3 // 2)
    assert dict(model.environment) == {"KEY": "v", "CREDENTIALS": '{"a":1}'}


@pytest.mark.parametrize("spec", ["2Gi", "2GiB", " 2gib ", "2GIB"])
def test_both_memory_forms_mean_the_same(spec: str) -> None:
    engine = DeploymentConfigBuilder().memory(spec).build()["engine"]
    assert isinstance(engine, dict)
    assert engine["resources"]["limits"]["memory"] == "2Gi"


@pytest.mark.parametrize("spec", ["512KiB", "1.5Ti", "3G", "3GB", "1048576", "7MiB"])
def test_memory_keeps_its_amount(spec: str) -> None:
    engine = DeploymentConfigBuilder().memory(spec).build()["engine"]
    assert isinstance(engine, dict)
    assert parse_memory(engine["resources"]["limits"]["memory"]) == parse_memory(spec)


@pytest.mark.parametrize("spec", ["", "lots", "2 Gigs", "-1Gi", "0Gi", "1.2.3Gi", 2, None])
def test_memory_that_is_no_amount_is_refused_at_once(spec: str) -> None:
    with pytest.raises(InvalidDeploymentConfigError, match="memory"):
        DeploymentConfigBuilder().memory(spec)
    with pytest.raises(InvalidDeploymentConfigError, match="sidekick_memory"):
        DeploymentConfigBuilder().sidekick_memory(LLM, spec)
    with pytest.raises(InvalidDeploymentConfigError, match="lb_memory"):
        DeploymentConfigBuilder().lb_memory(spec)


@pytest.mark.parametrize("count", [0, -1, "two", True, float("nan"), float("inf")])
def test_cpus_that_are_no_number_are_refused_at_once(count: float) -> None:
    with pytest.raises(InvalidDeploymentConfigError, match="CPUs"):
        DeploymentConfigBuilder().cpus(count)


@pytest.mark.parametrize("count", [0, -1, 1.5, "2", True])
def test_replica_count_that_is_no_whole_number_is_refused_at_once(count: int) -> None:
    with pytest.raises(InvalidDeploymentConfigError, match="replica_count"):
        DeploymentConfigBuilder().replica_count(count)


def test_autoscale_maximum_below_the_minimum_is_refused() -> None:
    with pytest.raises(InvalidDeploymentConfigError, match="maximum"):
        DeploymentConfigBuilder().replica_autoscale_min_max(1, 2)


def env_of(config: DeploymentConfig) -> dict[str, str]:
    aux = config["engineAux"]
    assert isinstance(aux, dict)
    return {entry["name"]: entry["value"] for entry in aux["images"]["llm-4"]["env"]}


def test_environment_texts_go_as_they_stand_and_the_rest_as_json() -> None:
    credentials = {"type": "service_account", "private_key": "-----BEGIN\nä"}
    config = (
        DeploymentConfigBuilder()
        .sidekick_env(
            LLM, {"TEXT": str(credentials), "JSON": credentials, "N": 5, "ON": True, "L": [1]}
        )
        .build()
    )
    environment = env_of(config)
    assert environment["TEXT"] == str(credentials)
    assert json.loads(environment["JSON"]) == credentials
    assert (environment["N"], environment["ON"], environment["L"]) == ("5", "true", "[1]")


def test_second_environment_replaces_the_first() -> None:
    config = (
        DeploymentConfigBuilder().sidekick_env(LLM, {"A": "1"}).sidekick_env(LLM, {"B": "2"})
    ).build()
    assert env_of(config) == {"B": "2"}


@pytest.mark.parametrize(
    "environment", [{"A": None}, {"": "x"}, {"A=B": "x"}, {3: "x"}, {"A": object()}, "A=hush"]
)
def test_environment_that_cannot_be_one_is_refused(environment: dict[str, object]) -> None:
    with pytest.raises(InvalidDeploymentConfigError) as caught:
        DeploymentConfigBuilder().sidekick_env(LLM, environment)
    assert "hush" not in str(caught.value)


def test_environment_values_show_in_no_repr() -> None:
    builder = DeploymentConfigBuilder().sidekick_env(LLM, {"OPENAI_API_KEY": "hush"})
    config = builder.build()
    shown = io.StringIO()
    Console(file=shown).print(config, copy.deepcopy(config)["engineAux"])
    for text in (
        repr(builder),
        repr(config),
        str(copy.deepcopy(config)),
        pprint.pformat(config),
        config._repr_html_(),
        shown.getvalue(),
    ):
        assert "OPENAI_API_KEY" in text
        assert "hush" not in text


def test_built_configuration_does_not_change_with_the_builder() -> None:
    builder = DeploymentConfigBuilder().cpus(1).sidekick_cpus(LLM, 1)
    first = builder.build()
    builder.cpus(2).sidekick_cpus(LLM, 2)
    assert first == DeploymentConfigBuilder().cpus(1).sidekick_cpus(LLM, 1).build()
