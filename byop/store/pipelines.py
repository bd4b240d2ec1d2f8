"""Pipelines and their versions in the metadata database."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, Row, Select, insert, select, update

from byop.domain.identifiers import PipelineId, PipelineVersionId, UserId, WorkspaceId
from byop.domain.models import ModelReference
from byop.domain.pipelines import ModelStep, Pipeline, PipelineVersion, Step
from byop.store.database import Database
from byop.store.tables import pipeline_versions, pipelines


class SqlPipelines:
    """The port ``Pipelines``. Steps are one JSON column, each ``{kind: {...}}``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_version(
        self,
        *,
        name: str,
        workspace_id: WorkspaceId,
        owner: UserId,
        version: str,
        steps: Sequence[Step],
        created_at: datetime,
    ) -> tuple[Pipeline, PipelineVersion]:
        """Insert the version, and the pipeline before its first one."""
        with self._database.write(unique=("pipeline version", version)) as connection:
            pipeline = _touch_pipeline(connection, name, workspace_id, owner, created_at)
            row = connection.execute(
                insert(pipeline_versions)
                .values(
                    pipeline_id=pipeline.id,
                    version=version,
                    steps=[_step_json(step) for step in steps],
                    created_at=created_at,
                )
                .returning(pipeline_versions)
            ).one()
        return pipeline, _version(row)

    def get(self, pipeline_id: PipelineId) -> Pipeline | None:
        """Select by id."""
        return self._first(select(pipelines).where(pipelines.c.id == pipeline_id))

    def find(self, workspace_id: WorkspaceId, name: str) -> Pipeline | None:
        """Select by name."""
        return self._first(
            select(pipelines).where(
                pipelines.c.workspace_id == workspace_id, pipelines.c.name == name
            )
        )

    def get_version(self, version_id: PipelineVersionId) -> PipelineVersion | None:
        """Select by id."""
        query = select(pipeline_versions).where(pipeline_versions.c.id == version_id)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else _version(row)

    def _first(self, query: Select[tuple[object, ...]]) -> Pipeline | None:
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else _pipeline(row)


def _touch_pipeline(
    connection: Connection, name: str, workspace_id: WorkspaceId, owner: UserId, now: datetime
) -> Pipeline:
    """Return the pipeline, made or marked as updated."""
    row = connection.execute(
        update(pipelines)
        .where(pipelines.c.workspace_id == workspace_id, pipelines.c.name == name)
        .values(updated_at=now)
        .returning(pipelines)
    ).first()
    if row is None:
        row = connection.execute(
            insert(pipelines)
            .values(
                name=name,
                workspace_id=workspace_id,
                owner_id=owner,
                created_at=now,
                updated_at=now,
            )
            .returning(pipelines)
        ).one()
    return _pipeline(row)


def _pipeline(row: Row[tuple[object, ...]]) -> Pipeline:
    return Pipeline(
        id=PipelineId(row.id),
        name=row.name,
        workspace_id=WorkspaceId(row.workspace_id),
        owner_id=UserId(row.owner_id),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _version(row: Row[tuple[object, ...]]) -> PipelineVersion:
    return PipelineVersion(
        id=PipelineVersionId(row.id),
        pipeline_id=PipelineId(row.pipeline_id),
        version=row.version,
        steps=tuple(_read_step(step) for step in row.steps),
        created_at=row.created_at,
    )


def _step_json(step: Step) -> dict[str, dict[str, str]]:
    model = step.model
    return {"model": {"name": model.name, "version": model.version, "sha": model.sha}}


def _read_step(step: dict[str, dict[str, str]]) -> Step:
    return ModelStep(ModelReference(**step["model"]))
