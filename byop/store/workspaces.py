"""Workspaces in the metadata database."""

from collections import defaultdict
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Table, insert, select, true

from byop.domain.identifiers import ModelId, PipelineId, UserId, WorkspaceId
from byop.domain.workspaces import Workspace
from byop.store.database import Database
from byop.store.tables import models, pipelines, workspace_members, workspaces


class SqlWorkspaces:
    """The port ``Workspaces``. The owner is a member like those added later."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str, *, owner: UserId, created_at: datetime) -> Workspace:
        """Insert the workspace with its owner as its member."""
        with self._database.write(unique=("workspace", name)) as connection:
            workspace_id = connection.execute(
                insert(workspaces)
                .values(name=name, created_by=owner, is_archived=False, created_at=created_at)
                .returning(workspaces.c.id)
            ).scalar_one()
            connection.execute(
                insert(workspace_members).values(workspace_id=workspace_id, user_id=owner)
            )
            return _load(connection, workspaces.c.id == workspace_id)[0]

    def get(self, workspace_id: WorkspaceId) -> Workspace | None:
        """Select by id."""
        with self._database.read() as connection:
            found = _load(connection, workspaces.c.id == workspace_id)
        return found[0] if found else None

    def list_all(self, *, member: UserId | None = None) -> list[Workspace]:
        """Select all, or the member's."""
        where: ColumnElement[bool] = true()
        if member is not None:
            where = workspaces.c.id.in_(
                select(workspace_members.c.workspace_id).where(
                    workspace_members.c.user_id == member
                )
            )
        with self._database.read() as connection:
            return _load(connection, where)

    def is_member(self, workspace_id: WorkspaceId, user_id: UserId) -> bool:
        """Look for the membership."""
        query = select(workspace_members.c.user_id).where(
            workspace_members.c.workspace_id == workspace_id,
            workspace_members.c.user_id == user_id,
        )
        with self._database.read() as connection:
            return connection.execute(query).first() is not None


def _load(connection: Connection, where: ColumnElement[bool]) -> list[Workspace]:
    """Return the workspaces with what they hold, in three statements."""
    model_ids = _ids_by_workspace(connection, models, where)
    pipeline_ids = _ids_by_workspace(connection, pipelines, where)
    query = select(workspaces).where(where).order_by(workspaces.c.created_at, workspaces.c.id)
    return [
        Workspace(
            id=WorkspaceId(row.id),
            name=row.name,
            created_by=UserId(row.created_by),
            created_at=row.created_at,
            is_archived=row.is_archived,
            model_ids=tuple(map(ModelId, model_ids[row.id])),
            pipeline_ids=tuple(map(PipelineId, pipeline_ids[row.id])),
        )
        for row in connection.execute(query)
    ]


def _ids_by_workspace(
    connection: Connection, table: Table, where: ColumnElement[bool]
) -> dict[int, list[int]]:
    query = (
        select(table.c.workspace_id, table.c.id)
        .where(table.c.workspace_id.in_(select(workspaces.c.id).where(where)))
        .order_by(table.c.created_at, table.c.id)
    )
    found: dict[int, list[int]] = defaultdict(list)
    for workspace_id, row_id in connection.execute(query):
        found[workspace_id].append(row_id)
    return found
