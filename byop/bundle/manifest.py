"""``model.toml``: what a project says of itself (docs/bundle-format.md)."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import pyarrow as pa

from byop.domain.identifiers import require_dns_label
from byop.domain.models import Framework
from byop.errors import InvalidBundleError, InvalidNameError, InvalidSchemaError
from byop.tables.schemas import schema_from_mapping

MANIFEST_NAME = "model.toml"

_Choice = TypeVar("_Choice", bound=StrEnum)

_TABLES: dict[str, frozenset[str] | None] = {
    "model": frozenset({"name", "framework"}),
    "input": None,
    "output": None,
    "environment": frozenset({"required", "optional"}),
    "endpoint": frozenset({"kind"}),
    "bundle": frozenset({"include"}),
}
"""Tables and the keys that each may hold; None where the keys are column names."""


class EndpointKind(StrEnum):
    """Protocol and sign-in of an LLM hosted elsewhere."""

    OPENAI = "openai"
    AZURE_OPENAI = "azure-openai"
    AZURE_ML = "azure-ml"
    VERTEX = "vertex"


@dataclass(frozen=True, slots=True)
class ModelManifest:
    """A parsed ``model.toml``.

    Attributes:
        name: Default name of the model, a DNS label.
        inputs: Declared input columns; None when the table is absent.
        outputs: Declared output columns; None when the table is absent.
        environment_required: Variables without which the model cannot work. Names, never values.
        environment_optional: Variables that it reads when they are set.
        endpoint_kind: Set when the gateway may call the hosted LLM itself.
        bundle_include: Files and folders from outside that are copied into the zip's root.
    """

    name: str
    framework: Framework = Framework.CUSTOM
    inputs: pa.Schema | None = None
    outputs: pa.Schema | None = None
    environment_required: tuple[str, ...] = ()
    environment_optional: tuple[str, ...] = ()
    endpoint_kind: EndpointKind | None = None
    bundle_include: tuple[str, ...] = ()


def read_manifest(text: str) -> ModelManifest:
    """Return what ``text``, the content of a ``model.toml``, declares.

    Raises:
        InvalidBundleError: It is no TOML, or has a table, key or value that is not known.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _invalid(str(error)) from None
    except RecursionError:
        raise _invalid("it nests too deeply") from None
    tables = {name: _read_table(name, value) for name, value in document.items()}
    model = tables.get("model", {})
    if "name" not in model:
        raise _invalid("[model] needs a name")
    environment = tables.get("environment", {})
    return ModelManifest(
        name=_read_name(model["name"]),
        framework=_read_choice(Framework, "framework", model.get("framework", "custom")),
        inputs=_read_schema("input", tables),
        outputs=_read_schema("output", tables),
        environment_required=_read_names("environment.required", environment.get("required", [])),
        environment_optional=_read_names("environment.optional", environment.get("optional", [])),
        endpoint_kind=_read_endpoint_kind(tables),
        bundle_include=_read_names("bundle.include", tables.get("bundle", {}).get("include", [])),
    )


def _read_table(name: str, value: object) -> dict[str, object]:
    if name not in _TABLES:
        raise _invalid(f"[{name}] is not known: use {', '.join(_TABLES)}")
    if not isinstance(value, dict):
        raise _invalid(f"{name} must be a table: [{name}]")
    allowed = _TABLES[name]
    unknown = sorted(value.keys() - allowed) if allowed is not None else []
    if unknown:
        raise _invalid(
            f"[{name}] has no key {unknown[0]!r}: use {', '.join(sorted(allowed or ()))}"
        )
    return value


def _read_name(value: object) -> str:
    try:
        return require_dns_label("model", str(value))
    except InvalidNameError as error:
        raise _invalid(error.message) from None


def _read_endpoint_kind(tables: Mapping[str, Mapping[str, object]]) -> EndpointKind | None:
    if "endpoint" not in tables:
        return None
    return _read_choice(EndpointKind, "kind", tables["endpoint"].get("kind"))


def _read_choice(kind: type[_Choice], key: str, value: object) -> _Choice:
    try:
        return kind(str(value))
    except ValueError:
        raise _invalid(f"{key} {value!r} is not known: use one of {', '.join(kind)}") from None


def _read_schema(name: str, tables: Mapping[str, Mapping[str, object]]) -> pa.Schema | None:
    if name not in tables:
        return None
    columns = tables[name]
    for column, type_name in columns.items():
        if not isinstance(type_name, str):
            raise _invalid(f"[{name}] {column} must be an Arrow type as text, such as 'string'")
    try:
        return schema_from_mapping({column: str(kind) for column, kind in columns.items()})
    except InvalidSchemaError as error:
        raise _invalid(f"[{name}] {error.message}") from None


def _read_names(key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise _invalid(f"{key} must be a list of texts")
    return tuple(value)


def _invalid(why: str) -> InvalidBundleError:
    return InvalidBundleError(f"model.toml: {why}")
