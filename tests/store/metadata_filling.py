"""A metadata store with one of every noun, for tests and for the kept databases."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from byop.domain.deployments import (
    Deployment,
    DeploymentConfig,
    ModelResources,
    SecretEnvironment,
)
from byop.domain.identifiers import UserId, WorkspaceId
from byop.domain.models import (
    Conversion,
    Framework,
    ModelReference,
    ModelStatus,
    ModelVersion,
    Signature,
    Visibility,
)
from byop.domain.pipelines import ModelStep, Pipeline, PipelineVersion
from byop.domain.users import ConfidentialClient, User
from byop.domain.workspaces import Workspace
from byop.ports.metadata import MetadataStore

START = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
ADA = User(
    id=UserId("0f1d2b6e-0001-4000-8000-000000000001"),
    email="Ada@Example.com",
    username="ada",
    is_admin=True,
    is_enabled=True,
    created_at=START,
    password_hash="$argon2id$not-a-real-hash",  # noqa: S106 (opens nothing)
)
CLIENT = ConfidentialClient("api-client", UserId("0f1d2b6e-0002-4000-8000-000000000002"), START)
SEALED_CLIENT_SECRET = bytes.fromhex(
    "0155157ae262f5638157393afa10d2f136b0ed20a7dadaff023fabff8742a15390212caedfe9805e1dd89bd4c72af7"
    "26da8218a49386"
)
"""``not-a-real-secret``, sealed with a key of 32 zero bytes."""
SIGNATURE = Signature(
    inputs=pa.schema([pa.field("text", pa.string(), metadata={"unit": "words"})]),
    outputs=pa.schema({"score": pa.list_(pa.float32(), 3)}),
)
CONVERSION = Conversion(
    framework=Framework.CUSTOM,
    python_version="3.11",
    requirements=("openai==1.35", "httpx<0.28"),
    framework_config='{"batch": 1}',
)
VARIABLES = {"API_KEY": "sk-not-a-real-key", "EMPTY": "", "ЮНИКОД": "значение\n"}


def at(minutes: int) -> datetime:
    return START + timedelta(minutes=minutes)


@dataclass(frozen=True)
class Filled:
    workspace: Workspace
    model: ModelVersion
    pipeline: Pipeline
    pipeline_version: PipelineVersion
    deployment: Deployment


def reference(model: ModelVersion) -> ModelReference:
    return ModelReference(model.name, model.version, model.sha)


def add_model(
    store: MetadataStore,
    workspace_id: WorkspaceId,
    version: str,
    *,
    name: str = "summarizer",
    visibility: Visibility = Visibility.PRIVATE,
    status: ModelStatus = ModelStatus.READY,
    minute: int = 2,
) -> ModelVersion:
    return store.models.add_version(
        name=name,
        workspace_id=workspace_id,
        owner=ADA.id,
        visibility=visibility,
        version=version,
        sha="ab" * 32,
        file_name="summarizer.zip",
        size_bytes=3_000_000_000,
        conversion=CONVERSION,
        signature=SIGNATURE,
        status=status,
        created_at=at(minute),
    )


def config_for(model: ModelVersion) -> DeploymentConfig:
    return DeploymentConfig(
        replica_count=2,
        engine=ModelResources(cpus=0.5, memory_bytes=1 << 30),
        models={
            model.id: ModelResources(
                cpus=1.0,
                memory_bytes=5 << 30,
                environment=SecretEnvironment(VARIABLES),
                concurrency=4,
            )
        },
        raw='{"replicas": 2}',
    )


def fill(store: MetadataStore) -> Filled:
    store.users.add(ADA)
    store.users.add_client(CLIENT, sealed_secret=SEALED_CLIENT_SECRET)
    workspace = store.workspaces.add("team", owner=ADA.id, created_at=at(1))
    model = add_model(store, workspace.id, "11111111-aaaa-4000-8000-000000000001")
    pipeline, version = store.pipelines.add_version(
        name="main",
        workspace_id=workspace.id,
        owner=ADA.id,
        version="22222222-bbbb-4000-8000-000000000002",
        steps=[ModelStep(reference(model)), ModelStep(reference(model))],
        created_at=at(3),
    )
    deployment = store.deployments.add(
        name="maindeploy",
        pipeline_id=pipeline.id,
        pipeline_version_id=version.id,
        workspace_id=workspace.id,
        config=config_for(model),
        created_at=at(4),
    )
    return Filled(workspace, model, pipeline, version, deployment)
