import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from byop.bundle.archive_limits import ArchiveLimits
from byop.domain.models import Framework, ModelStatus, ModelVersion
from byop.errors import InvalidArchiveError, RequirementsConflictError, StoredFileDamagedError
from byop.services.model_files import ModelFiles
from byop.store.blobs import FileBlobStore
from tests.services.conftest import World, zipped


@pytest.fixture
def version(world: World) -> ModelVersion:
    workspace_id = world.workspaces.create(world.admin, "w").id
    return world.converted(world.admin, world.upload(world.admin, workspace_id))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return where this file's ModelFiles unpack: beside the world's, whose blobs they share."""
    return tmp_path / "unpacked"


@pytest.fixture
def files(world: World, root: Path) -> ModelFiles:
    return ModelFiles(blobs=FileBlobStore(world.blobs_root), root=root)


def spoil(world: World, version: ModelVersion, content: bytes) -> None:
    path = world.blobs_root / version.sha[:2] / version.sha
    path.chmod(0o600)
    path.write_bytes(content)


def test_unpacked_model_is_read_only(files: ModelFiles, version: ModelVersion) -> None:
    folder = files.locate(version)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o555
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o444}


def test_single_file_has_its_suffix_and_is_read_only(
    files: ModelFiles, version: ModelVersion
) -> None:
    conversion = replace(version.conversion, framework=Framework.ONNX)
    path = files.locate(replace(version, conversion=conversion, file_name="m.onnx"))
    assert path.name == "model.onnx"
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o555


def test_located_again_it_is_not_unpacked_again(
    world: World, files: ModelFiles, version: ModelVersion
) -> None:
    first = files.locate(version)
    spoil(world, version, b"")
    assert files.locate(version) == first


def test_threads_that_unpack_at_once_agree(
    files: ModelFiles, root: Path, version: ModelVersion
) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = set(pool.map(files.locate, [version] * 8))
    assert folders == {root / version.sha}
    assert list(root.iterdir()) == [root / version.sha]


def test_what_a_killed_server_left_half_unpacked_is_removed(
    world: World, root: Path, version: ModelVersion
) -> None:
    left = root / ".unfinished-abc.x"
    (left / "sealed").mkdir(parents=True)
    (left / "sealed" / "a.py").touch()
    (left / "sealed").chmod(0o555)
    files = ModelFiles(blobs=FileBlobStore(world.blobs_root), root=root)
    assert list(root.iterdir()) == []
    assert files.locate(version).is_dir()


@pytest.mark.parametrize("damaged", [b"", zipped({"other.py": ""})])
@pytest.mark.parametrize("use", [ModelFiles.locate, ModelFiles.project])
def test_damaged_blob_is_named_and_nothing_is_unpacked(
    world: World,
    files: ModelFiles,
    version: ModelVersion,
    damaged: bytes,
    use: Callable[[ModelFiles, ModelVersion], object],
) -> None:
    spoil(world, version, damaged)
    with pytest.raises(StoredFileDamagedError, match=version.sha):
        use(files, version)
    assert list(world.blobs_root.parent.glob("unpacked/*")) == []


def test_damaged_blob_ends_the_conversion_with_its_reason(
    world: World, version: ModelVersion
) -> None:
    spoil(world, version, b"")
    world.metadata.models.set_status(
        version.id, ModelStatus.ATTEMPTING_LOAD_CONTAINER, updated_at=version.updated_at
    )
    world.conversions.resume()
    failed = world.converted(world.admin, version)
    assert failed.status is ModelStatus.ERROR
    assert "is damaged: upload it again" in str(failed.error_summary)


def test_limits_hold_when_a_zip_is_unpacked(
    world: World, root: Path, version: ModelVersion
) -> None:
    blobs = FileBlobStore(world.blobs_root)
    files = ModelFiles(blobs=blobs, root=root, limits=ArchiveLimits(entries=1))
    with pytest.raises(InvalidArchiveError, match="more than 1 entries"):
        files.locate(version)


def test_secret_in_an_upload_is_a_warning_of_the_version(world: World) -> None:
    workspace_id = world.workspaces.create(world.admin, "w").id
    with_secret = zipped({"s.py": "def process_data(x): return x", ".env": "KEY=canary-value"})
    version = world.upload(world.admin, workspace_id, framework=Framework.PYTHON, data=with_secret)
    ready = world.converted(world.admin, version)
    (warning,) = ready.warnings
    assert ".env" in warning
    assert "canary-value" not in warning


def test_warning_is_there_also_when_the_conversion_fails(world: World) -> None:
    workspace_id = world.workspaces.create(world.admin, "w").id
    world.environments.problem = RequirementsConflictError("numpy does not fit")
    with_secret = zipped({"s.py": "def process_data(x): return x", ".env": "KEY=value"})
    version = world.upload(world.admin, workspace_id, framework=Framework.PYTHON, data=with_secret)
    failed = world.converted(world.admin, version)
    assert failed.status is ModelStatus.ERROR
    assert len(failed.warnings) == 1
