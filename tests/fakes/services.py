"""In-memory stand-ins for the use cases, so that the HTTP face can be tested alone.

Two tokens are always valid: ``user-token`` (an administrator) and ``program-token`` (a client's).
"""

import hashlib
import threading
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from byop.domain.deployments import (
    Deployment,
    DeploymentConfig,
    EngineStatus,
    ReplicaStatus,
    RunStatus,
)
from byop.domain.identifiers import (
    DeploymentId,
    ModelId,
    ModelVersionId,
    PipelineId,
    PipelineVersionId,
    UserId,
    WorkspaceId,
)
from byop.domain.inferences import InferenceMetadata, InferenceRecord, no_anomalies
from byop.domain.models import ModelStatus, ModelVersion, Signature
from byop.domain.pipelines import Pipeline, PipelineVersion, Step
from byop.domain.users import Principal, User
from byop.domain.workspaces import Workspace
from byop.errors import AlreadyExistsError, ByopError, NotAuthenticatedError, NotFoundError
from byop.ports.blobs import IncomingBlob, StoredBlob
from byop.ports.inference_log import LogPage, PageStatus
from byop.server.services import Services
from byop.services.admission import Admission, RequestMemory
from byop.services.deployments import DeploymentReport, DeployRequest
from byop.services.inference_logs import LogRequest
from byop.services.models import ModelUpload
from byop.services.routes import InferenceRoute
from byop.services.tokens import TokenPair
from byop.steps.walk import RunningModelStep

THEN = datetime(2026, 5, 17, 20, 36, 36, 312003, tzinfo=UTC)
ADMIN = User(
    id=UserId("028c8b48-c39b-4578-9110-0b5bdd3824da"),
    email="admin@byop.local",
    username="admin@byop.local",
    is_admin=True,
    is_enabled=True,
    created_at=THEN,
)
PASSWORD = "correct horse"  # noqa: S105 - a test's password
CLIENT_SECRET = "s3cr:et %"  # noqa: S105 - a test's secret, with what Basic must escape
USER_TOKEN = "user-token"  # noqa: S105
PROGRAM_TOKEN = "program-token"  # noqa: S105
INPUTS = pa.schema([pa.field("tensor", pa.list_(pa.float32(), 2)), pa.field("name", pa.string())])


class FakeIdentity:
    def log_in(self, login: str, password: str) -> User:
        if (login, password) != (ADMIN.username, PASSWORD):
            raise NotAuthenticatedError("user name or password is wrong")
        return ADMIN

    def authenticate_client(self, client_id: str, secret: str | None) -> str:
        if client_id == "sdk-client" or (client_id, secret) == ("api-client", CLIENT_SECRET):
            return client_id
        raise NotAuthenticatedError("client id or client secret is wrong")

    def principal_of(self, user: User, client_id: str) -> Principal:
        return Principal(user.id, client_id, user.email, user.is_admin)

    def list_users(self, principal: Principal) -> list[User]:
        assert principal.user_id == ADMIN.id
        return [ADMIN]


class FakeTokens:
    def __init__(self) -> None:
        user = Principal(ADMIN.id, "sdk-client", ADMIN.email, is_admin=True)
        self.access = {USER_TOKEN: user, PROGRAM_TOKEN: Principal(None, "api-client")}
        self.refreshable: dict[str, Principal] = {}

    def issue(self, principal: Principal, *, with_refresh: bool) -> TokenPair:
        access = f"access-{len(self.access)}"
        self.access[access] = principal
        refresh = f"refresh-{access}" if with_refresh else ""
        if refresh:
            self.refreshable[refresh] = principal
        return TokenPair(access, 3600, refresh, 86_400 if with_refresh else 0)

    def refresh(self, refresh_token: str, *, client_id: str) -> TokenPair:
        principal = self.refreshable.get(refresh_token)
        if principal is None or principal.client_id != client_id:
            raise NotAuthenticatedError("the token is not valid")
        return self.issue(principal, with_refresh=True)

    def verify(self, access_token: str) -> Principal:
        if access_token not in self.access:
            raise NotAuthenticatedError("the token is not valid")
        return self.access[access_token]


class FakeWorkspaces:
    def __init__(self) -> None:
        self.kept: dict[str, Workspace] = {}

    def create(self, principal: Principal, name: str) -> Workspace:
        if name in self.kept:
            raise AlreadyExistsError("workspace", name)
        assert principal.user_id is not None
        number = len(self.kept) + 1
        workspace = Workspace(
            WorkspaceId(number),
            name,
            principal.user_id,
            THEN,
            model_ids=(ModelId(4),),
            pipeline_ids=(PipelineId(7), PipelineId(8)),
        )
        self.kept[name] = workspace
        return workspace

    def list_visible(self, _principal: Principal, user_id: str | None = None) -> list[Workspace]:
        return [w for w in self.kept.values() if user_id in (None, w.created_by)]


class FakeFile:
    """The port ``IncomingBlob`` that keeps what is asked about it."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.size = 0
        self.largest_chunk = 0
        self.is_discarded = False

    def write(self, chunk: bytes) -> None:
        self.digest.update(chunk)
        self.size += len(chunk)
        self.largest_chunk = max(self.largest_chunk, len(chunk))

    def commit(self, check: Callable[[Path], None] | None = None) -> StoredBlob:
        assert check is None
        return StoredBlob(self.digest.hexdigest(), self.size)

    def discard(self) -> None:
        self.is_discarded = True


class FakeModels:
    """Keeps what came; ``files`` show whether a file came in pieces and was cleared away."""

    def __init__(self) -> None:
        self.versions: dict[int, ModelVersion] = {}
        self.uploads: list[ModelUpload] = []
        self.checked: list[ModelUpload] = []
        self.files: list[FakeFile] = []

    def check_upload(self, principal: Principal, upload: ModelUpload) -> None:
        assert principal.user_id is not None
        self.checked.append(upload)

    def begin_upload(self) -> FakeFile:
        self.files.append(FakeFile())
        return self.files[-1]

    def finish_upload(
        self, principal: Principal, upload: ModelUpload, file: IncomingBlob
    ) -> ModelVersion:
        assert principal.user_id is not None
        stored = file.commit()
        self.uploads.append(upload)
        number = len(self.versions) + 1
        self.versions[number] = ModelVersion(
            id=ModelVersionId(number),
            model_id=ModelId(4),
            name=upload.name,
            workspace_id=WorkspaceId(upload.workspace_id),
            owner_id=principal.user_id,
            version="0b989008-5f1d-453e-8085-98d97be1b722",
            sha=stored.sha,
            file_name=upload.file_name,
            size_bytes=stored.size_bytes,
            visibility=upload.visibility,
            conversion=upload.conversion,
            signature=upload.signature,
            status=ModelStatus.PENDING_LOAD_CONTAINER,
            created_at=THEN,
            updated_at=THEN,
            warnings=("python_version 3.8 is not obeyed",),
        )
        return self.versions[number]

    def get_version(self, _principal: Principal, version_id: int) -> ModelVersion:
        if version_id not in self.versions:
            raise NotFoundError("model version", version_id)
        return self.versions[version_id]


class FakePipelines:
    def __init__(self) -> None:
        self.steps: tuple[Step, ...] = ()

    def create(
        self, principal: Principal, *, name: str, workspace_id: int, steps: Sequence[Step]
    ) -> tuple[Pipeline, PipelineVersion]:
        assert principal.user_id is not None
        self.steps = tuple(steps)
        pipeline = Pipeline(
            PipelineId(7), name, WorkspaceId(workspace_id), principal.user_id, THEN, THEN
        )
        version = PipelineVersion(
            PipelineVersionId(9),
            pipeline.id,
            "a6dd2cee-58d6-4d24-9e25-f531dbbb95ad",
            self.steps,
            THEN,
        )
        return pipeline, version


class FakeDeployments:
    def __init__(self, models: FakeModels) -> None:
        self._models = models
        self.requests: list[DeployRequest] = []
        self.running: dict[str, Deployment] = {}

    def deploy(self, _principal: Principal, request: DeployRequest) -> Deployment:
        self.requests.append(request)
        deployment = Deployment(
            DeploymentId(5),
            request.name,
            PipelineId(7),
            PipelineVersionId(request.pipeline_version_id),
            WorkspaceId(1),
            is_deployed=True,
            config=DeploymentConfig(),
            created_at=THEN,
        )
        self.running[deployment.address] = deployment
        return deployment

    def undeploy(
        self, _principal: Principal, *, pipeline_id: int | None, deployment_id: int | None
    ) -> None:
        if (pipeline_id, deployment_id) == (None, None) or not self.running:
            raise NotFoundError("deployment", deployment_id)
        self.running.clear()

    def status(self, principal: Principal, address: str) -> DeploymentReport:
        if address not in self.running:
            raise NotFoundError("deployment", address)
        assert principal.user_id is not None
        deployment = self.running[address]
        pipeline = Pipeline(
            deployment.pipeline_id, "chat", WorkspaceId(1), principal.user_id, THEN, THEN
        )
        version = PipelineVersion(deployment.pipeline_version_id, pipeline.id, "55f45c16", (), THEN)
        models = tuple(self._models.versions.values())
        replicas = tuple(
            ReplicaStatus(f"replica-{m.name}-0", m.id, RunStatus.RUNNING) for m in models
        )
        engine = EngineStatus(RunStatus.RUNNING, replicas)
        return DeploymentReport(deployment, pipeline, version, models, engine)

    def inference_path(
        self, _principal: Principal, *, workspace_id: int, pipeline_name: str
    ) -> str:
        if workspace_id != 1:
            raise NotFoundError("workspace", workspace_id)
        return f"/v1/api/pipelines/infer/{pipeline_name}-5/{pipeline_name}"


Infer = Callable[[InferenceRoute, pa.RecordBatch, int], Awaitable[InferenceRecord]]


async def echo(_route: InferenceRoute, inputs: pa.RecordBatch, parse_ns: int) -> InferenceRecord:
    """Answer each row with its number."""
    rows = pa.array(range(inputs.num_rows), pa.int64())
    return record_of(inputs, pa.record_batch([rows], names=["row"]), parse_ns)


def record_of(
    inputs: pa.RecordBatch, outputs: pa.RecordBatch, parse_ns: int = 1
) -> InferenceRecord:
    return InferenceRecord(
        time_ms=1_684_356_836_285,
        inputs=inputs,
        outputs=outputs,
        anomalies=no_anomalies(outputs.num_rows),
        metadata=InferenceMetadata(
            last_model='{"model_name":"m","model_sha":"s"}',
            pipeline_version="55f45c16",
            elapsed_ns=(parse_ns, 2),
        ),
    )


class FakeInference:
    """Serves one route, ``chat-5/chat``; ``behave`` is what an inference does."""

    def __init__(self) -> None:
        self.behave: Infer = echo
        self.schema: pa.Schema | None = INPUTS
        self.is_in_memory = True
        self.memory = RequestMemory(1 << 30)
        self.loop_thread: threading.Thread | None = None
        self.routed_in: list[threading.Thread] = []

    def knows(self, _principal: Principal, _address: str) -> bool:
        return self.is_in_memory

    def route(self, _principal: Principal, address: str, pipeline: str) -> InferenceRoute:
        self.routed_in.append(threading.current_thread())
        if (address, pipeline) != ("chat-5", "chat"):
            raise NotFoundError("deployed pipeline", f"{address}/{pipeline}")
        step = RunningModelStep(ModelVersionId(1), "m", Signature(inputs=self.schema), "{}")
        return InferenceRoute(
            address=address,
            pipeline_name=pipeline,
            pipeline_id=PipelineId(7),
            deployment_id=DeploymentId(5),
            workspace_id=WorkspaceId(1),
            topic="pipeline-7",
            pipeline_version="55f45c16",
            steps=(step,),
        )

    def admit(self, _route: InferenceRoute | None) -> Admission:
        return Admission(self.memory, lambda: None)

    async def infer(
        self, route: InferenceRoute, inputs: pa.RecordBatch, *, parse_ns: int
    ) -> InferenceRecord:
        self.loop_thread = threading.current_thread()
        return await self.behave(route, inputs, parse_ns)


class FakeInferenceLogs:
    def __init__(self) -> None:
        self.requests: list[LogRequest] = []
        inputs = pa.record_batch([pa.array(["hello"])], names=["text"])
        outputs = pa.record_batch([pa.array([0.5], pa.float32())], names=["score"])
        self.answer = LogPage([record_of(inputs, outputs)], PageStatus.ALL, None)

    def page(self, _principal: Principal, request: LogRequest) -> LogPage:
        self.requests.append(request)
        return self.answer


class FakeServices:
    """Every fake, to be looked at and set by a test."""

    def __init__(self) -> None:
        self.identity = FakeIdentity()
        self.tokens = FakeTokens()
        self.workspaces = FakeWorkspaces()
        self.models = FakeModels()
        self.pipelines = FakePipelines()
        self.deployments = FakeDeployments(self.models)
        self.inference = FakeInference()
        self.inference_logs = FakeInferenceLogs()
        self.events: list[str] = []
        self.not_ready: ByopError | None = None

    def forget(self) -> None:
        """Make every fake new in place: the server keeps its references."""
        fresh = FakeServices()
        for name, fake in vars(self).items():
            if name not in ("events", "not_ready"):
                vars(fake).clear()
                vars(fake).update(vars(getattr(fresh, name)))
        vars(self.deployments)["_models"] = self.models
        self.not_ready = None

    async def open(self) -> None:
        self.events.append("open")

    async def close(self) -> None:
        self.events.append("close")

    def check_ready(self) -> None:
        if self.not_ready is not None:
            raise self.not_ready

    def wired(self) -> Services:
        return Services(
            identity=cast("Any", self.identity),
            tokens=cast("Any", self.tokens),
            workspaces=cast("Any", self.workspaces),
            models=cast("Any", self.models),
            pipelines=cast("Any", self.pipelines),
            deployments=cast("Any", self.deployments),
            inference=cast("Any", self.inference),
            inference_logs=cast("Any", self.inference_logs),
        )
