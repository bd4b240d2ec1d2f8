"""Deployments in the metadata database, their environment values sealed one by one."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Select, Table, delete, insert, select, update

from byop.domain.deployments import (
    Deployment,
    DeploymentConfig,
    ModelResources,
    SecretEnvironment,
)
from byop.domain.identifiers import (
    DeploymentId,
    ModelVersionId,
    PipelineId,
    PipelineVersionId,
    WorkspaceId,
)
from byop.errors import NotFoundError
from byop.ports.secrets import SecretBox
from byop.store.database import Database
from byop.store.tables import deployment_resources, deployment_variables, deployments

_Share = tuple[int, int | None]
"""Whose resources: deployment id and model version id, None for the engine's own."""


class SqlDeployments:
    """The port ``Deployments``.

    ``created_at`` stays the time of the first deployment of the pipeline.
    """

    def __init__(self, database: Database, secrets: SecretBox) -> None:
        self._database = database
        self._secrets = secrets

    def add(
        self,
        *,
        name: str,
        pipeline_id: PipelineId,
        pipeline_version_id: PipelineVersionId,
        workspace_id: WorkspaceId,
        config: DeploymentConfig,
        created_at: datetime,
    ) -> Deployment:
        """Insert or update the pipeline's row and replace what belongs to it."""
        values = {
            "name": name,
            "pipeline_version_id": pipeline_version_id,
            "is_deployed": True,
            "replica_count": config.replica_count,
            "raw_config": config.raw,
        }
        with self._database.write() as connection:
            deployment_id = connection.execute(
                update(deployments)
                .where(deployments.c.pipeline_id == pipeline_id)
                .values(values)
                .returning(deployments.c.id)
            ).scalar()
            if deployment_id is None:
                fixed = {
                    "pipeline_id": pipeline_id,
                    "workspace_id": workspace_id,
                    "created_at": created_at,
                }
                deployment_id = connection.execute(
                    insert(deployments).values(values | fixed).returning(deployments.c.id)
                ).scalar_one()
            self._replace_config(connection, deployment_id, config)
            return self._load(connection, deployments.c.id == deployment_id)[0]

    def get(self, deployment_id: DeploymentId) -> Deployment | None:
        """Select by id."""
        return self._first(deployments.c.id == deployment_id)

    def find_for_pipeline(self, pipeline_id: PipelineId) -> Deployment | None:
        """Select by pipeline."""
        return self._first(deployments.c.pipeline_id == pipeline_id)

    def set_deployed(self, deployment_id: DeploymentId, *, is_deployed: bool) -> None:
        """Update the flag; NotFoundError when there is no such deployment."""
        statement = (
            update(deployments)
            .where(deployments.c.id == deployment_id)
            .values(is_deployed=is_deployed)
        )
        with self._database.write() as connection:
            if connection.execute(statement).rowcount == 0:
                raise NotFoundError("deployment", deployment_id)
            if not is_deployed:
                _erase(connection, deployment_variables, deployment_id)

    def list_deployed(self) -> list[Deployment]:
        """Select by flag."""
        with self._database.read() as connection:
            return self._load(connection, deployments.c.is_deployed)

    def _first(self, where: ColumnElement[bool]) -> Deployment | None:
        with self._database.read() as connection:
            found = self._load(connection, where)
        return found[0] if found else None

    def _replace_config(
        self, connection: Connection, deployment_id: int, config: DeploymentConfig
    ) -> None:
        _erase(connection, deployment_variables, deployment_id)
        _erase(connection, deployment_resources, deployment_id)
        shares: list[tuple[_Share, ModelResources]] = [((deployment_id, None), config.engine)]
        shares += [((deployment_id, model), share) for model, share in config.models.items()]
        connection.execute(
            insert(deployment_resources), [_resource_row(owner, got) for owner, got in shares]
        )
        variables = [row for owner, got in shares for row in self._variable_rows(owner, got)]
        if variables:
            connection.execute(insert(deployment_variables), variables)

    def _variable_rows(
        self, owner: _Share, resources: ModelResources
    ) -> Iterator[dict[str, object]]:
        for name, value in resources.environment.items():
            sealed = self._secrets.seal(value, context=variable_context(owner, name))
            yield {**_owner_columns(owner), "name": name, "sealed_value": sealed}

    def _load(self, connection: Connection, where: ColumnElement[bool]) -> list[Deployment]:
        """Return the deployments in three statements."""
        shares = self._load_shares(connection, where)
        query = (
            select(deployments).where(where).order_by(deployments.c.created_at, deployments.c.id)
        )
        return [
            Deployment(
                id=DeploymentId(row.id),
                name=row.name,
                pipeline_id=PipelineId(row.pipeline_id),
                pipeline_version_id=PipelineVersionId(row.pipeline_version_id),
                workspace_id=WorkspaceId(row.workspace_id),
                is_deployed=row.is_deployed,
                config=_config(row.replica_count, row.raw_config, shares[row.id]),
                created_at=row.created_at,
            )
            for row in connection.execute(query)
        ]

    def _load_shares(
        self, connection: Connection, where: ColumnElement[bool]
    ) -> dict[int, dict[int | None, ModelResources]]:
        """Return resources by deployment and model version, environment values opened."""
        environments = self._load_environments(connection, where)
        shares: dict[int, dict[int | None, ModelResources]] = defaultdict(dict)
        for row in connection.execute(_select_parts(deployment_resources, where)):
            environment = environments[row.deployment_id, row.model_version_id]
            shares[row.deployment_id][row.model_version_id] = ModelResources(
                cpus=row.cpus,
                memory_bytes=row.memory_bytes,
                environment=SecretEnvironment(environment),
                concurrency=row.concurrency,
            )
        return shares

    def _load_environments(
        self, connection: Connection, where: ColumnElement[bool]
    ) -> dict[_Share, dict[str, str]]:
        environments: dict[_Share, dict[str, str]] = defaultdict(dict)
        for row in connection.execute(_select_parts(deployment_variables, where)):
            owner = (row.deployment_id, row.model_version_id)
            environments[owner][row.name] = self._secrets.open(
                row.sealed_value, context=variable_context(owner, row.name)
            )
        return environments


def _erase(connection: Connection, table: Table, deployment_id: int) -> None:
    connection.execute(delete(table).where(table.c.deployment_id == deployment_id))


def _select_parts(table: Table, where: ColumnElement[bool]) -> Select[tuple[object, ...]]:
    """Select the rows of the deployments, in the order in which they were given."""
    chosen = select(deployments.c.id).where(where)
    return select(table).where(table.c.deployment_id.in_(chosen)).order_by(table.c.id)


def variable_context(owner: tuple[int, int | None], variable: str) -> str:
    """Return what a variable's sealed value is bound to; ``owner`` is as the two id columns are."""
    deployment_id, model_version_id = owner
    model = "engine" if model_version_id is None else f"model/{model_version_id}"
    return f"deployment/{deployment_id}/{model}/{variable}"


def _owner_columns(owner: _Share) -> dict[str, object]:
    return {"deployment_id": owner[0], "model_version_id": owner[1]}


def _resource_row(owner: _Share, resources: ModelResources) -> dict[str, object]:
    return {
        **_owner_columns(owner),
        "cpus": resources.cpus,
        "memory_bytes": resources.memory_bytes,
        "concurrency": resources.concurrency,
    }


def _config(
    replica_count: int, raw: str, shares: dict[int | None, ModelResources]
) -> DeploymentConfig:
    models = {ModelVersionId(model): got for model, got in shares.items() if model is not None}
    return DeploymentConfig(
        replica_count=replica_count, engine=shares[None], models=models, raw=raw
    )
