"""Tables of the metadata database at today's revision (``migrations`` holds the way there)."""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from typing_extensions import override


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC times, also where the database keeps none (SQLite)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @override
    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    @override
    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[int]:
    return Column("id", Integer, primary_key=True)


def _created_at() -> Column[datetime]:
    return Column("created_at", UtcDateTime, nullable=False)


def _reference(name: str, target: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, ForeignKey(target), nullable=nullable)


sealed_checks = Table(
    "sealed_checks",
    metadata,
    Column("name", String, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("id", String, primary_key=True),
    Column("email", String, nullable=False),
    Column("email_key", String, nullable=False, unique=True),
    Column("username", String, nullable=False),
    Column("username_key", String, nullable=False, index=True),
    Column("is_admin", Boolean, nullable=False),
    Column("is_enabled", Boolean, nullable=False),
    Column("password_hash", String, nullable=False),
    _created_at(),
)

confidential_clients = Table(
    "confidential_clients",
    metadata,
    Column("client_id", String, primary_key=True),
    Column("service_user_id", String, nullable=False),
    Column("sealed_secret", LargeBinary, nullable=False),
    _created_at(),
)

workspaces = Table(
    "workspaces",
    metadata,
    _id(),
    Column("name", String, nullable=False, unique=True),
    Column("created_by", ForeignKey("users.id"), nullable=False),
    Column("is_archived", Boolean, nullable=False),
    _created_at(),
    sqlite_autoincrement=True,
)

workspace_members = Table(
    "workspace_members",
    metadata,
    Column("workspace_id", ForeignKey("workspaces.id"), primary_key=True),
    Column("user_id", ForeignKey("users.id"), primary_key=True, index=True),
)

models = Table(
    "models",
    metadata,
    _id(),
    Column("name", String, nullable=False),
    _reference("workspace_id", "workspaces.id"),
    Column("owner_id", ForeignKey("users.id"), nullable=False),
    Column("visibility", String, nullable=False),
    _created_at(),
    Column("updated_at", UtcDateTime, nullable=False),
    UniqueConstraint("workspace_id", "name"),
    sqlite_autoincrement=True,
)

model_versions = Table(
    "model_versions",
    metadata,
    _id(),
    _reference("model_id", "models.id"),
    Column("owner_id", ForeignKey("users.id"), nullable=False),
    Column("version", String, nullable=False, unique=True),
    Column("sha", String, nullable=False),
    Column("file_name", String, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("visibility", String, nullable=False),
    Column("framework", String, nullable=False),
    Column("python_version", String, nullable=False),
    Column("requirements", JSON, nullable=False),
    Column("arch", String, nullable=False),
    Column("accel", String, nullable=False),
    Column("framework_config", Text, nullable=False),
    Column("input_schema", LargeBinary),
    Column("output_schema", LargeBinary),
    Column("status", String, nullable=False, index=True),
    Column("error_summary", Text),
    Column("warnings", JSON, nullable=False),
    Column("environment_key", String),
    _created_at(),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("ix_model_versions_model_id", "model_id"),
    sqlite_autoincrement=True,
)

pipelines = Table(
    "pipelines",
    metadata,
    _id(),
    Column("name", String, nullable=False),
    _reference("workspace_id", "workspaces.id"),
    Column("owner_id", ForeignKey("users.id"), nullable=False),
    _created_at(),
    Column("updated_at", UtcDateTime, nullable=False),
    UniqueConstraint("workspace_id", "name"),
    sqlite_autoincrement=True,
)

pipeline_versions = Table(
    "pipeline_versions",
    metadata,
    _id(),
    _reference("pipeline_id", "pipelines.id"),
    Column("version", String, nullable=False, unique=True),
    Column("steps", JSON, nullable=False),
    _created_at(),
    Index("ix_pipeline_versions_pipeline_id", "pipeline_id"),
    sqlite_autoincrement=True,
)

deployments = Table(
    "deployments",
    metadata,
    _id(),
    Column("name", String, nullable=False),
    Column("pipeline_id", ForeignKey("pipelines.id"), nullable=False, unique=True),
    _reference("pipeline_version_id", "pipeline_versions.id"),
    _reference("workspace_id", "workspaces.id"),
    Column("is_deployed", Boolean, nullable=False),
    Column("replica_count", Integer, nullable=False),
    Column("raw_config", Text, nullable=False),
    _created_at(),
    sqlite_autoincrement=True,
)

deployment_resources = Table(
    "deployment_resources",
    metadata,
    _id(),
    _reference("deployment_id", "deployments.id"),
    _reference("model_version_id", "model_versions.id", nullable=True),
    Column("cpus", Float),
    Column("memory_bytes", BigInteger),
    Column("concurrency", Integer, nullable=False),
    Index("ix_deployment_resources_deployment_id", "deployment_id"),
)
"""``model_version_id`` is null for the engine's own share."""

deployment_variables = Table(
    "deployment_variables",
    metadata,
    _id(),
    _reference("deployment_id", "deployments.id"),
    _reference("model_version_id", "model_versions.id", nullable=True),
    Column("name", String, nullable=False),
    Column("sealed_value", LargeBinary, nullable=False),
    Index("ix_deployment_variables_deployment_id", "deployment_id"),
)
