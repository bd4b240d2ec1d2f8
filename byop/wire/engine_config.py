"""Deployment configurations as JSON, both forms that clients send.

The SDK's nested form is ``{"engine": .., "enginelb": .., "engineAux": {"images": ..}}``
(reference/wallaroo-sdk.md 2.5); seed 001 ("Deploy a Current Pipeline Version") shows the flat one,
``{"cpus": 1, "replica_count": 1, "memory": "999Mi"}``.
"""

import json
import re
from collections.abc import Mapping

from byop.domain.deployments import (
    DeploymentConfig,
    ModelResources,
    SecretEnvironment,
    parse_memory,
)
from byop.domain.identifiers import ModelVersionId
from byop.errors import InvalidDeploymentConfigError, InvalidPayloadError
from byop.json_text import read_json

_MAX_REPLICAS = 64
_ENVIRONMENTS = ("env", "environment", "sidekick_env")
_HIDDEN = "***"
_AMOUNT = re.compile(r"[+-]?[0-9.]{0,12} ?[A-Za-z]{0,5}")
_KINDS = frozenset({"accel", "arch", "autoscale", "image", "model", "qaic_config"})
"""Settings whose texts are kept: they say of what kind something is."""
_NO_NAME = re.compile(r"[=\s\0]|^$")


def model_key(name: str, version_id: int) -> str:
    """Return how ``engineAux.images`` names a model version."""
    return f"{name}-{version_id}"


def parse_engine_config(
    raw: Mapping[str, object] | str | None, models: Mapping[str, ModelVersionId]
) -> DeploymentConfig:
    """Return the configuration; ``models`` maps each ``model_key`` of the pipeline to its id.

    Raises:
        InvalidDeploymentConfigError: A value cannot be read, or an image is no model of the
            pipeline.
    """
    config = _as_object(raw)
    nested = any(key in config for key in ("engine", "engineAux", "enginelb"))
    return _parse_nested(config, models) if nested else _parse_flat(config, models)


def _as_object(raw: Mapping[str, object] | str | None) -> Mapping[str, object]:
    if isinstance(raw, str):
        try:
            parsed = read_json(raw) if raw.strip() else {}
        except InvalidPayloadError as error:
            raise InvalidDeploymentConfigError("engine_config", "", str(error)) from None
        return _object("engine_config", parsed)
    return _object("engine_config", {} if raw is None else raw)


def _parse_nested(
    config: Mapping[str, object], models: Mapping[str, ModelVersionId]
) -> DeploymentConfig:
    engine = _object("engine", config.get("engine"))
    images = _object(
        "engineAux.images", _object("engineAux", config.get("engineAux")).get("images")
    )
    return DeploymentConfig(
        replica_count=_replicas(engine.get("replicas", 1)),
        engine=_resources("engine", engine),
        models={
            _model_id(name, models): _resources(f"engineAux.images.{name}", _object(name, image))
            for name, image in images.items()
        },
        raw=json.dumps(_without_environment(config)),
    )


def _resources(where: str, image: Mapping[str, object]) -> ModelResources:
    limits = _object(
        f"{where}.resources.limits", _object(where, image.get("resources")).get("limits")
    )
    return ModelResources(
        cpus=_cpus(f"{where}.cpu", limits.get("cpu", image.get("cpu"))),
        memory_bytes=_memory(f"{where}.memory", limits.get("memory")),
        environment=_environment(f"{where}.env", image.get("env")),
        concurrency=_concurrency(f"{where}.concurrency", image.get("concurrency", 1)),
    )


def _parse_flat(
    config: Mapping[str, object], models: Mapping[str, ModelVersionId]
) -> DeploymentConfig:
    return DeploymentConfig(
        replica_count=_replicas(config.get("replica_count", 1)),
        engine=ModelResources(
            cpus=_cpus("cpus", config.get("cpus")),
            memory_bytes=_memory("memory", config.get("memory")),
        ),
        models=_flat_models(config, models),
        raw=json.dumps(_without_environment(config)),
    )


def _flat_models(
    config: Mapping[str, object], models: Mapping[str, ModelVersionId]
) -> dict[ModelVersionId, ModelResources]:
    """Read ``sidekick_cpus``, ``sidekick_memory`` and ``sidekick_env``: each by model key."""
    cpus = _by_model("sidekick_cpus", config.get("sidekick_cpus"), models)
    memory = _by_model("sidekick_memory", config.get("sidekick_memory"), models)
    environment = _by_model("sidekick_env", config.get("sidekick_env"), models)
    return {
        version_id: ModelResources(
            cpus=_cpus("sidekick_cpus", cpus.get(version_id)),
            memory_bytes=_memory("sidekick_memory", memory.get(version_id)),
            environment=_environment("sidekick_env", environment.get(version_id)),
        )
        for version_id in {*cpus, *memory, *environment}
    }


def _by_model(
    setting: str, raw: object, models: Mapping[str, ModelVersionId]
) -> dict[ModelVersionId, object]:
    if raw is None:
        return {}
    values = _object(setting, raw)
    model = values.get("model")
    if isinstance(model, str):
        named = ("core_count", "memory_spec", "environment")
        return {_named_model(model, models): next((values[k] for k in named if k in values), None)}
    return {_model_id(name, models): value for name, value in values.items()}


def _named_model(name: str, models: Mapping[str, ModelVersionId]) -> ModelVersionId:
    """Return the model that a value names; as it may be anything, the error does not repeat it."""
    try:
        return _model_id(name, models)
    except InvalidDeploymentConfigError:
        known = ", ".join(sorted(models))
        raise InvalidDeploymentConfigError(
            "model", _HIDDEN, f"names no model of this pipeline: expected one of {known}"
        ) from None


def _model_id(name: str, models: Mapping[str, ModelVersionId]) -> ModelVersionId:
    if name in models:
        return models[name]
    matches = [value for key, value in models.items() if key.rpartition("-")[0] == name]
    if len(matches) == 1:
        return matches[0]
    raise InvalidDeploymentConfigError(
        name, name, f"is no model of this pipeline: expected one of {', '.join(sorted(models))}"
    )


def _object(where: str, raw: object) -> Mapping[str, object]:
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        raise InvalidDeploymentConfigError(where, type(raw).__name__, "must be an object")
    return raw


def _replicas(raw: object) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int) or not 1 <= raw <= _MAX_REPLICAS:
        raise InvalidDeploymentConfigError(
            "replica_count", _shown(raw), f"must be 1 to {_MAX_REPLICAS}"
        )
    return raw


def _concurrency(where: str, raw: object) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int) or raw < 1:
        raise InvalidDeploymentConfigError(where, _shown(raw), "must be a whole number above zero")
    return raw


def _cpus(where: str, raw: object) -> float | None:
    if raw is None:
        return None
    try:
        cpus = float(raw) if isinstance(raw, (int, float, str)) else -1.0
    except ValueError:
        cpus = -1.0
    if not 0 < cpus < float("inf"):
        shown = _shown(raw)
        raise InvalidDeploymentConfigError(
            where, shown, f"{shown!r} is no number of CPUs above zero"
        )
    return cpus


def _memory(where: str, raw: object) -> int | None:
    return None if raw is None else parse_memory(str(_shown(raw)), setting=where)


def _shown(raw: object) -> object:
    """Return what an error may repeat: a number or an amount, of anything else its type.

    Any other text may be a credential in the wrong place.
    """
    if isinstance(raw, str):
        return raw if _AMOUNT.fullmatch(raw) else _HIDDEN
    return raw if isinstance(raw, (int, float)) else type(raw).__name__


def _environment(where: str, raw: object) -> SecretEnvironment:
    """Read ``[{"name", "value"}]`` or ``{name: value}``. A value never gets into the error."""
    if raw is None:
        return SecretEnvironment()
    pairs = _object(where, raw).items() if not isinstance(raw, list) else map(_pair, raw)
    values: dict[str, str] = {}
    for name, value in pairs:
        if not isinstance(name, str) or _NO_NAME.search(name) is not None:
            raise InvalidDeploymentConfigError(
                where, "***", "holds a name that is no variable name"
            )
        text = value if isinstance(value, str) else json.dumps(value)
        if "\0" in text:
            raise InvalidDeploymentConfigError(f"{where}.{name}", "***", "holds a NUL character")
        values[name] = text
    return SecretEnvironment(values)


def _pair(raw: object) -> tuple[object, object]:
    entry = raw if isinstance(raw, Mapping) else {}
    return entry.get("name"), entry.get("value", "")


def _without_environment(value: object, name: str = "") -> object:
    """Return the configuration with ``***`` in place of whatever may be an environment value.

    Wherever it stands: one in a place that is not read, as by a misspelled setting, is a credential
    all the same.
    """
    match value:
        case Mapping():
            return {
                key: _names_only(kept) if key in _ENVIRONMENTS else _without_environment(kept, key)
                for key, kept in value.items()
            }
        case list():
            return [_without_environment(inner, name) for inner in value]
        case str() if name not in _KINDS:
            return _shown(value)
    return value


def _names_only(environment: object) -> object:
    match environment:
        case Mapping():
            return dict.fromkeys(environment, _HIDDEN)
        case list():
            return [{"name": str(_pair(entry)[0]), "value": _HIDDEN} for entry in environment]
    return _HIDDEN
