"""Model versions: what an upload gave, and how its conversion goes."""

from dataclasses import dataclass

import pyarrow as pa
from typing_extensions import override

from byop.client.answers import int_at, list_at, text_at, value_at
from byop.client.api import Api
from byop.client.notebook import facts_table
from byop.client.progress import show_status, tell
from byop.client.waiting import attempts
from byop.domain.models import ModelReference, ModelStatus
from byop.errors import ApiError, InvalidInputError

CONVERT_WAIT_S = 1800.0
_VERSION = ("model_version", "model_version")


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """What ``get_version_by_id`` tells of a version (reference/wallaroo-sdk.md 2.2)."""

    id: int
    name: str
    version: str
    sha: str
    file_name: str
    framework: str
    status: str
    error_summary: str | None
    warnings: tuple[str, ...] = ()


class ModelVersion:
    """One uploaded version of a model."""

    def __init__(
        self,
        api: Api,
        facts: VersionFacts,
        *,
        input_schema: pa.Schema | None = None,
        output_schema: pa.Schema | None = None,
    ) -> None:
        self._api = api
        self._facts = facts
        self._input_schema = input_schema
        self._output_schema = output_schema

    def id(self) -> int:
        """Return the id of this version."""
        return self._facts.id

    def name(self) -> str:
        """Return the model's name."""
        return self._facts.name

    def version(self) -> str:
        """Return the version, a UUID."""
        return self._facts.version

    def sha(self) -> str:
        """Return the sha256 of the file in hex."""
        return self._facts.sha

    def file_name(self) -> str:
        """Return the name of the uploaded file."""
        return self._facts.file_name

    def framework(self) -> str:
        """Return the framework."""
        return self._facts.framework

    def status(self) -> str:
        """Return the status now: asks the server until it is ``ready`` or ``error``."""
        if not _is_final(self._facts.status):
            self._facts = fetch_version(self._api, self.id())
        return self._facts.status

    def error_summary(self) -> str | None:
        """Return why the conversion failed, None when it did not (yet)."""
        self.status()
        return self._facts.error_summary

    def warnings(self) -> tuple[str, ...]:
        """Return what the server found odd in the upload, a secret in it for example."""
        self.status()
        return self._facts.warnings

    def reference(self) -> ModelReference:
        """Return how pipeline steps name this version."""
        return ModelReference(self.name(), self.version(), self.sha())

    def wait(self, timeout: float = CONVERT_WAIT_S) -> "ModelVersion":
        """Return this version once its conversion has ended, well or not.

        A failed conversion raises nothing: its summary is written to standard error, and
        ``status()`` is ``error``. Warnings are written there, too.

        Raises:
            ApiError: It goes on after ``timeout`` seconds.
        """
        with show_status(f"converting {self.name()}") as show:
            for waited_s in attempts(timeout):
                status = self.status()
                if _is_final(status):
                    break
                show(f"converting {self.name()}: {status}, {waited_s:.0f} s")
            else:
                raise ApiError(
                    f"model {self.name()!r} is still {self._facts.status} after {timeout:g} s: "
                    "call wait() to wait longer"
                )
        for warning in self._facts.warnings:
            tell(f"model {self.name()!r}: warning: {warning}")
        if self._facts.status == ModelStatus.ERROR:
            tell(f"model {self.name()!r} cannot be used: {self._facts.error_summary}")
        return self

    def configure(
        self,
        runtime: str | None = None,
        *,
        input_schema: pa.Schema | None = None,
        output_schema: pa.Schema | None = None,
        **others: object,
    ) -> "ModelVersion":
        """Return this version, which the server has configured by its framework and schemas.

        ``runtime`` is accepted and says nothing new; the schemas must be those of the upload.

        Raises:
            InvalidInputError: A setting would change how the model runs, which no server route
                does yet; silence would pretend that it had.
        """
        del runtime
        asked = [name for name, value in others.items() if value is not None]
        if asked:
            raise InvalidInputError(f"configure does not support {', '.join(sorted(asked))}")
        _require_same("input_schema", input_schema, self._input_schema)
        _require_same("output_schema", output_schema, self._output_schema)
        return self

    @override
    def __repr__(self) -> str:
        facts = self._facts
        return (
            f"ModelVersion(id={facts.id}, name={facts.name!r}, version={facts.version!r}, "
            f"status={facts.status!r})"
        )

    def _repr_html_(self) -> str:
        facts = self._facts
        shown = {
            "name": facts.name,
            "version": facts.version,
            "file": facts.file_name,
            "sha": facts.sha,
            "framework": facts.framework,
            "status": facts.status,
        }
        if facts.error_summary:
            shown["error"] = facts.error_summary
        if facts.warnings:
            shown["warnings"] = "; ".join(facts.warnings)
        return facts_table("Model version", shown)


def fetch_version(api: Api, version_id: int) -> VersionFacts:
    """Return what the server knows of a version now.

    Raises:
        NotFoundError: There is none of that id for this user.
    """
    body = api.ask("/v1/api/models/get_version_by_id", {"model_version_id": version_id})
    summary = value_at(body, *_VERSION, "error_summary")
    return VersionFacts(
        id=int_at(body, *_VERSION, "id"),
        name=text_at(body, *_VERSION, "name"),
        version=text_at(body, *_VERSION, "file_info", "version"),
        sha=text_at(body, *_VERSION, "file_info", "sha"),
        file_name=text_at(body, *_VERSION, "file_info", "file_name"),
        framework=str(value_at(body, *_VERSION, "conversion", "framework") or ""),
        status=text_at(body, *_VERSION, "status"),
        error_summary=None if summary is None else str(summary),
        warnings=tuple(map(str, list_at(body, *_VERSION, "warnings"))),
    )


def _is_final(status: str) -> bool:
    return status in (ModelStatus.READY, ModelStatus.ERROR)


def _require_same(setting: str, asked: pa.Schema | None, uploaded: pa.Schema | None) -> None:
    if asked is not None and (uploaded is None or not asked.equals(uploaded)):
        raise InvalidInputError(
            f"configure cannot change {setting}: upload the model again with the new schema"
        )
