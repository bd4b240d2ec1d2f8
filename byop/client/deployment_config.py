"""Deployment configurations: a builder that checks each value, and the JSON that it builds.

Source: reference/wallaroo-sdk.md 2.5 and seed 001, "Deploy a Current Pipeline Version".
"""

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Protocol, Self

import orjson
from typing_extensions import override

from byop.client.notebook import facts_table
from byop.domain.deployments import parse_memory
from byop.errors import InvalidDeploymentConfigError
from byop.wire.engine_config import model_key

Json = dict[str, object]

_INFINITY = float("inf")
_MEMORY = re.compile(r"\s*([\d.]+)\s*([KMGT]?)(i?)B?\s*", re.IGNORECASE)


class DeployedModel(Protocol):
    """What a ``sidekick_*`` setting needs to know of a model version."""

    def name(self) -> str:
        """Return the model's name."""

    def id(self) -> int:
        """Return the model version's id."""


class EnvironmentEntry(dict[str, str]):
    """``{"name": ..., "value": ...}`` whose value shows nowhere but in JSON."""

    @override
    def __repr__(self) -> str:
        return f"{self.get('name')}=***"

    def __rich_repr__(self) -> Iterator[tuple[str, str]]:
        """Keep rich, which prints dictionaries by their content, to the same."""
        yield str(self.get("name")), "***"


class DeploymentConfig(dict[str, object]):
    """What the deploy route takes as ``engine_config``; values of the environment stay hidden."""

    def _repr_html_(self) -> str:
        return facts_table("Deployment configuration", self)


class DeploymentConfigBuilder:
    """Collects settings and builds a :class:`DeploymentConfig`.

    ``cpus``, ``memory`` and the like without ``sidekick`` apply to native runtimes, those with it
    to one model each. Every method raises InvalidDeploymentConfigError on a value that cannot be
    right, and returns the builder.
    """

    def __init__(self, workspace_id: int | None = None) -> None:
        self._engine: Json = {}
        self._balancer: Json = {}
        self._images: dict[str, Json] = {}
        self._workspace_id = workspace_id

    def build(self) -> DeploymentConfig:
        """Return the configuration; the builder may go on and build others."""
        images = copy.deepcopy(self._images)
        if "node_selector" in self._engine:
            for image in images.values():
                image.setdefault("node_selector", self._engine["node_selector"])
        config = DeploymentConfig(
            engine=copy.deepcopy(self._engine),
            enginelb=copy.deepcopy(self._balancer),
            engineAux={"images": images},
        )
        if self._workspace_id is not None:
            config["workspace_id"] = self._workspace_id
        return config

    def replica_count(self, count: int) -> Self:
        """Set how many replicas run."""
        self._engine["replicas"] = _whole("replica_count", count, least=1)
        return self

    def replica_autoscale_min_max(self, maximum: int, minimum: int = 0) -> Self:
        """Let the number of replicas move between two bounds."""
        low = _whole("replica_autoscale_min_max.minimum", minimum, least=0)
        high = _whole("replica_autoscale_min_max.maximum", maximum, least=max(low, 1))
        self._engine["autoscale"] = {"replica_min": low, "replica_max": high, "type": "cpu"}
        return self

    def cpus(self, core_count: float) -> Self:
        """Set the CPUs, a fraction if need be."""
        self._engine["cpu"] = _cores("cpus", core_count)
        _set_resource(self._engine, "cpu", core_count)
        return self

    def memory(self, memory_spec: str) -> Self:
        """Set the memory, such as ``2Gi`` or ``2GiB``."""
        _set_resource(self._engine, "memory", _memory("memory", memory_spec))
        return self

    def gpus(self, gpu_count: int) -> Self:
        """Set the GPUs."""
        self._engine["gpu"] = _whole("gpus", gpu_count, least=0)
        _set_resource(self._engine, "nvidia.com/gpu", gpu_count)
        return self

    def lb_cpus(self, core_count: float) -> Self:
        """Set the load balancer's CPUs."""
        _set_resource(self._balancer, "cpu", _cores("lb_cpus", core_count))
        return self

    def lb_memory(self, memory_spec: str) -> Self:
        """Set the load balancer's memory."""
        _set_resource(self._balancer, "memory", _memory("lb_memory", memory_spec))
        return self

    def deployment_label(self, label: str) -> Self:
        """Set the node label that replicas must run on."""
        self._engine["node_selector"] = _text("deployment_label", label)
        return self

    def arch(self, arch: str) -> Self:
        """Set the processor architecture."""
        self._engine["arch"] = _text("arch", arch)
        return self

    def accel(self, accel: str | Mapping[str, object]) -> Self:
        """Set the accelerator."""
        self._engine["accel"] = _accel("accel", accel)
        return self

    def sidekick_cpus(self, model: DeployedModel, core_count: float) -> Self:
        """Set the CPUs of one model."""
        _set_resource(self._image(model), "cpu", _cores("sidekick_cpus", core_count))
        return self

    def sidekick_memory(self, model: DeployedModel, memory_spec: str) -> Self:
        """Set the memory of one model."""
        _set_resource(self._image(model), "memory", _memory("sidekick_memory", memory_spec))
        return self

    def sidekick_gpus(self, model: DeployedModel, gpu_count: int) -> Self:
        """Set the GPUs of one model."""
        count = _whole("sidekick_gpus", gpu_count, least=0)
        _set_resource(self._image(model), "nvidia.com/gpu", count)
        return self

    def sidekick_arch(self, model: DeployedModel, arch: str) -> Self:
        """Set the processor architecture of one model."""
        self._image(model)["arch"] = _text("sidekick_arch", arch)
        return self

    def sidekick_accel(self, model: DeployedModel, accel: str | Mapping[str, object]) -> Self:
        """Set the accelerator of one model."""
        self._image(model)["accel"] = _accel("sidekick_accel", accel)
        return self

    def sidekick_env(self, model: DeployedModel, environment: Mapping[str, object]) -> Self:
        """Replace the environment variables of one model.

        A text goes as it stands; anything else is encoded as JSON, so that a credentials file can
        be given as the dictionary it holds.
        """
        if not isinstance(environment, Mapping):
            raise InvalidDeploymentConfigError("sidekick_env", "***", "must be a dictionary")
        self._image(model)["env"] = [
            EnvironmentEntry(name=_variable(name), value=_variable_text(name, value))
            for name, value in environment.items()
        ]
        return self

    def _image(self, model: DeployedModel) -> Json:
        return self._images.setdefault(model_key(model.name(), model.id()), {})

    @override
    def __repr__(self) -> str:
        return f"DeploymentConfigBuilder({self.build()!r})"


def _set_resource(holder: Json, name: str, amount: object) -> None:
    """Set an amount as limit and as request, which is how a cluster guarantees it."""
    resources = holder.setdefault("resources", {"limits": {}, "requests": {}})
    if isinstance(resources, dict):
        for kind in resources.values():
            kind[name] = amount


def _memory(setting: str, spec: object) -> str:
    """Return the form that Kubernetes takes, too: ``2GiB`` becomes ``2Gi``."""
    if not isinstance(spec, str):
        raise InvalidDeploymentConfigError(
            setting, spec, f"{spec!r} is no text such as '2Gi' or '512MiB'"
        )
    size_bytes = parse_memory(spec, setting=setting)
    found = _MEMORY.fullmatch(spec)
    if found is None or size_bytes <= 0:
        raise InvalidDeploymentConfigError(setting, spec, f"{spec!r} is not above zero")
    number, unit, binary = found.groups()
    return f"{number}{unit.upper()}{binary.lower()}"


def _cores(setting: str, count: object) -> float:
    if isinstance(count, (int, float)) and not isinstance(count, bool) and 0 < count < _INFINITY:
        return count
    raise InvalidDeploymentConfigError(setting, count, f"{count!r} is no number of CPUs above zero")


def _whole(setting: str, count: object, *, least: int) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or count < least:
        raise InvalidDeploymentConfigError(
            setting, count, f"{count!r} is no whole number of at least {least}"
        )
    return count


def _text(setting: str, value: object) -> str:
    """Return ``value``; an enumeration gives its value."""
    text = getattr(value, "value", value)
    if not isinstance(text, str) or not text:
        raise InvalidDeploymentConfigError(setting, value, f"{value!r} is no text")
    return text


def _accel(setting: str, value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else _text(setting, value)


def _variable(name: object) -> str:
    if not isinstance(name, str) or not name or "=" in name or "\0" in name:
        raise InvalidDeploymentConfigError(
            "sidekick_env", name, f"{name!r} is no name of an environment variable"
        )
    return name


def _variable_text(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        raise InvalidDeploymentConfigError(
            f"sidekick_env {name}", "***", "has no value: leave the variable out instead"
        )
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        raise InvalidDeploymentConfigError(
            f"sidekick_env {name}", "***", f"a {type(value).__name__} cannot be written as JSON"
        ) from None
