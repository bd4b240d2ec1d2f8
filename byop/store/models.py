"""Models and their versions in the metadata database."""

from collections.abc import Sequence
from datetime import datetime

import pyarrow as pa
from sqlalchemy import ColumnElement, Connection, Row, Select, insert, select, update

from byop.domain.identifiers import ModelId, ModelVersionId, UserId, WorkspaceId
from byop.domain.models import (
    Conversion,
    Framework,
    ModelReference,
    ModelStatus,
    ModelVersion,
    Signature,
    Visibility,
)
from byop.errors import NotFoundError
from byop.store.database import Database
from byop.store.tables import model_versions, models


class SqlModels:
    """The port ``Models``. Owner and visibility are of the version: its uploader chose them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_version(
        self,
        *,
        name: str,
        workspace_id: WorkspaceId,
        owner: UserId,
        visibility: Visibility,
        version: str,
        sha: str,
        file_name: str,
        size_bytes: int,
        conversion: Conversion,
        signature: Signature,
        status: ModelStatus,
        created_at: datetime,
    ) -> ModelVersion:
        """Insert the version, and the model before its first one."""
        values = {
            "owner_id": owner,
            "version": version,
            "sha": sha,
            "file_name": file_name,
            "size_bytes": size_bytes,
            "visibility": visibility.value,
            "framework": conversion.framework.value,
            "python_version": conversion.python_version,
            "requirements": list(conversion.requirements),
            "arch": conversion.arch,
            "accel": conversion.accel,
            "framework_config": conversion.framework_config,
            "status": status.value,
            "warnings": [],
            "created_at": created_at,
            "updated_at": created_at,
            **_schema_values(signature),
        }
        with self._database.write(unique=("model version", version)) as connection:
            model_id = _touch_model(
                connection,
                name,
                workspace_id=workspace_id,
                owner=owner,
                visibility=visibility,
                now=created_at,
            )
            version_id = connection.execute(
                insert(model_versions)
                .values(model_id=model_id, **values)
                .returning(model_versions.c.id)
            ).scalar_one()
            row = connection.execute(_select().where(model_versions.c.id == version_id)).one()
        return _version(row)

    def set_status(
        self,
        version_id: ModelVersionId,
        status: ModelStatus,
        *,
        updated_at: datetime,
        error_summary: str | None = None,
        warnings: Sequence[str] | None = None,
        environment_key: str | None = None,
        signature: Signature | None = None,
    ) -> None:
        """Update the version; NotFoundError when there is none."""
        facts = {
            "error_summary": error_summary,
            "warnings": None if warnings is None else list(warnings),
            "environment_key": environment_key,
        }
        values: dict[str, object] = {
            "status": status.value,
            "updated_at": updated_at,
            **{name: value for name, value in facts.items() if value is not None},
            **({} if signature is None else _schema_values(signature)),
        }
        statement = update(model_versions).where(model_versions.c.id == version_id).values(values)
        with self._database.write() as connection:
            if connection.execute(statement).rowcount == 0:
                raise NotFoundError("model version", version_id)

    def get_version(self, version_id: ModelVersionId) -> ModelVersion | None:
        """Select by id."""
        return self._first(_select().where(model_versions.c.id == version_id))

    def find_version(
        self, workspace_id: WorkspaceId, reference: ModelReference
    ) -> ModelVersion | None:
        """Select by name, version and sha."""
        is_here = models.c.workspace_id == workspace_id
        is_public = model_versions.c.visibility == Visibility.PUBLIC.value
        return self._first(
            _select().where(
                models.c.name == reference.name,
                model_versions.c.version == reference.version,
                model_versions.c.sha == reference.sha,
                is_here | is_public,
            )
        )

    def list_unfinished(self) -> list[ModelVersion]:
        """Select by status."""
        query = (
            _select()
            .where(_is_unfinished())
            .order_by(model_versions.c.created_at, model_versions.c.id)
        )
        with self._database.read() as connection:
            return [_version(row) for row in connection.execute(query)]

    def _first(self, query: Select[tuple[object, ...]]) -> ModelVersion | None:
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else _version(row)


def _touch_model(
    connection: Connection,
    name: str,
    *,
    workspace_id: WorkspaceId,
    owner: UserId,
    visibility: Visibility,
    now: datetime,
) -> int:
    """Return the id of the model, made or marked as updated."""
    known: int | None = connection.execute(
        update(models)
        .where(models.c.workspace_id == workspace_id, models.c.name == name)
        .values(updated_at=now)
        .returning(models.c.id)
    ).scalar()
    if known is not None:
        return known
    made: int = connection.execute(
        insert(models)
        .values(
            name=name,
            workspace_id=workspace_id,
            owner_id=owner,
            visibility=visibility.value,
            created_at=now,
            updated_at=now,
        )
        .returning(models.c.id)
    ).scalar_one()
    return made


def _select() -> Select[tuple[object, ...]]:
    return select(model_versions, models.c.name, models.c.workspace_id).join(
        models, models.c.id == model_versions.c.model_id
    )


def _is_unfinished() -> ColumnElement[bool]:
    return model_versions.c.status.in_(s.value for s in ModelStatus if not s.is_final)


def _version(row: Row[tuple[object, ...]]) -> ModelVersion:
    return ModelVersion(
        id=ModelVersionId(row.id),
        model_id=ModelId(row.model_id),
        name=row.name,
        workspace_id=WorkspaceId(row.workspace_id),
        owner_id=UserId(row.owner_id),
        version=row.version,
        sha=row.sha,
        file_name=row.file_name,
        size_bytes=row.size_bytes,
        visibility=Visibility(row.visibility),
        conversion=Conversion(
            framework=Framework(row.framework),
            python_version=row.python_version,
            requirements=tuple(row.requirements),
            arch=row.arch,
            accel=row.accel,
            framework_config=row.framework_config,
        ),
        signature=Signature(_read_schema(row.input_schema), _read_schema(row.output_schema)),
        status=ModelStatus(row.status),
        created_at=row.created_at,
        updated_at=row.updated_at,
        error_summary=row.error_summary,
        warnings=tuple(row.warnings),
        environment_key=row.environment_key,
    )


def _schema_values(signature: Signature) -> dict[str, bytes | None]:
    return {
        "input_schema": _write_schema(signature.inputs),
        "output_schema": _write_schema(signature.outputs),
    }


def _write_schema(schema: pa.Schema | None) -> bytes | None:
    return None if schema is None else bytes(schema.serialize())


def _read_schema(stored: bytes | None) -> pa.Schema | None:
    return None if stored is None else pa.ipc.read_schema(pa.py_buffer(stored))
