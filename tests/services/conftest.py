"""Use cases over a real database, with functions as models."""

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import numpy as np
import pyarrow as pa
import pytest

from byop.domain.models import Conversion, Framework, ModelVersion, Signature, Visibility
from byop.domain.users import Principal
from byop.services.conversions import Conversions
from byop.services.deployments import DeploymentService
from byop.services.identity import IdentityService, make_up_credentials
from byop.services.inference import InferenceService, Memberships
from byop.services.inference_logs import InferenceLogService
from byop.services.launches import Launches
from byop.services.model_files import ModelFiles
from byop.services.models import ModelService, ModelUpload
from byop.services.pipelines import PipelineService
from byop.services.routes import RouteTable
from byop.services.workspaces import WorkspaceService
from byop.store.blobs import FileBlobStore
from byop.store.metadata import SqlMetadataStore
from byop.store.secrets import AesGcmSecretBox
from tests.fakes.engine import Arrays, FakeEngine
from tests.fakes.environments import FakeEnvironments
from tests.fakes.stores import MemoryInferenceLog

MODULE = """
from mac.inference import Inference
from mac.inference.creation import InferenceBuilder
from mac.types import InferenceData

class Upper(Inference):
    @property
    def expected_model_types(self):
        return {str}
    @Inference.model.setter
    def model(self, model):
        self._model = model
    def _predict(self, input_data: InferenceData):
        return input_data

class UpperBuilder(InferenceBuilder):
    @property
    def inference(self):
        return Upper()
    def create(self, config):
        return self.inference
"""


def zipped(files: dict[str, str]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return sink.getvalue()


PROJECT = zipped({"upper.py": MODULE, "requirements.txt": "lib==1\n"})
TEXT = pa.schema([pa.field("text", pa.string())])


class FixedClock:
    def now(self) -> datetime:
        return datetime(2026, 11, 21, 4, 0, tzinfo=UTC)

    def now_ms(self) -> int:
        return int(self.now().timestamp() * 1000)


def shout(inputs: Arrays) -> Arrays:
    return {"text": np.array([text.upper() for text in inputs["text"]], dtype=object)}


def measure(inputs: Arrays) -> Arrays:
    return {"length": np.array([len(text) for text in inputs["text"]], dtype=np.int64)}


@dataclass
class World:
    """Every use case, and the fakes under them."""

    metadata: SqlMetadataStore
    engine: FakeEngine
    environments: FakeEnvironments
    log: MemoryInferenceLog
    identity: IdentityService
    workspaces: WorkspaceService
    models: ModelService
    pipelines: PipelineService
    deployments: DeploymentService
    inference: InferenceService
    inference_logs: InferenceLogService
    conversions: Conversions
    routes: RouteTable
    blobs_root: Path
    admin: Principal = field(default_factory=lambda: Principal(None, ""))

    def new_user(self, email: str) -> Principal:
        return self.identity.principal_of(
            self.identity.create_user(email=email, password="pw"),  # noqa: S106 - test data
            "sdk-client",
        )

    def upload(
        self, who: Principal, workspace_id: int, name: str = "shout", **changes: object
    ) -> ModelVersion:
        facts: dict[str, object] = {
            "data": PROJECT,
            "framework": Framework.CUSTOM,
            "file_name": "upper.zip",
            "signature": Signature(TEXT, TEXT),
            "visibility": Visibility.PRIVATE,
            **changes,
        }
        data = facts["data"]
        assert isinstance(data, bytes)
        upload = ModelUpload(
            name=name,
            workspace_id=workspace_id,
            visibility=Visibility(str(facts["visibility"])),
            file_name=str(facts["file_name"]),
            conversion=Conversion(
                framework=Framework(str(facts["framework"])),
                python_version=str(facts.get("python_version", "")),
            ),
            signature=facts["signature"],  # type: ignore[arg-type]  # a Signature, see above
        )
        file = self.models.begin_upload()
        try:
            file.write(data[:7])
            file.write(data[7:])
            return self.models.finish_upload(who, upload, file)
        finally:
            file.discard()

    def converted(self, who: Principal, version: ModelVersion) -> ModelVersion:
        deadline = monotonic() + 10
        while monotonic() < deadline:
            now = self.models.get_version(who, version.id)
            if now.status.is_final:
                return now
        raise AssertionError("the conversion did not end")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    clock = FixedClock()
    box = AesGcmSecretBox.load(tmp_path, "")
    metadata = SqlMetadataStore(f"sqlite:///{tmp_path / 'metadata.sqlite3'}", secrets=box)
    engine = FakeEngine({"shout": shout, "measure": measure})
    environments = FakeEnvironments()
    log = MemoryInferenceLog()
    blobs = FileBlobStore(tmp_path / "blobs")
    files = ModelFiles(blobs=blobs, root=tmp_path / "models")
    routes = RouteTable()
    conversions = Conversions(
        metadata=metadata,
        files=files,
        environments=environments,
        engine=engine,
        clock=clock,
        load_timeout_s=5,
    )
    identity = IdentityService(metadata=metadata, secret_box=box, clock=clock)
    identity.set_up(make_up_credentials("admin@example.com", "admin-password"))
    made = World(
        metadata=metadata,
        engine=engine,
        environments=environments,
        log=log,
        identity=identity,
        workspaces=WorkspaceService(metadata=metadata, clock=clock),
        models=ModelService(
            metadata=metadata,
            blobs=blobs,
            conversions=conversions,
            clock=clock,
            max_upload_bytes=1 << 20,
        ),
        pipelines=PipelineService(metadata=metadata, clock=clock),
        deployments=DeploymentService(
            metadata=metadata,
            engine=engine,
            launches=Launches(files=files, environments=environments),
            routes=routes,
            clock=clock,
        ),
        inference=InferenceService(
            routes=routes,
            memberships=Memberships(metadata.workspaces.is_member),
            engine=engine,
            log=log,
            clock=clock,
            deadline_s=5,
            max_pending_bytes=2**20,
        ),
        inference_logs=InferenceLogService(metadata=metadata, log=log),
        conversions=conversions,
        routes=routes,
        blobs_root=tmp_path / "blobs",
    )
    made.admin = identity.principal_of(
        identity.log_in("admin@example.com", "admin-password"), "sdk-client"
    )
    yield made
    conversions.close()
    metadata.close()
