"""Group J: a stored model file is damaged, and its unpacked copy gone, as after a bad disk."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from byop.client.pipeline import Pipeline
from tests.acceptance.deploying import (
    DOUBLED,
    NUMBERS,
    deploy,
    deployment_request,
    infer_until_running,
)
from tests.fakes.servers import RunningServer, running_server

pytestmark = pytest.mark.registry

_PREDICT = """
    numbers = input_data["number"]
    return {"doubled": numbers * 2, "pid": np.full(len(numbers), os.getpid())}
"""
_OTHER = b"PK\x03\x04 but not what was uploaded"
_ZEROS = bytes(4096)


@contextmanager
def _damaged(
    folder: Path, isolation: str, content: bytes
) -> Iterator[tuple[RunningServer, Pipeline]]:
    """Give a server that ran the models broken and sound before the former's file was replaced."""
    home = folder / "home"
    with running_server(home, {"BYOP_ISOLATION": isolation}) as server:
        deploy(server, folder, "sound", _PREDICT)
        broken = deploy(server, folder, "broken", f"# not the same bytes\n{_PREDICT}")
    sha = hashlib.sha256((folder / "broken.zip").read_bytes()).hexdigest()
    shutil.rmtree(home / "models" / sha)
    blob = home / "blobs" / sha[:2] / sha
    blob.unlink()
    blob.write_bytes(content)
    with running_server(home, {"BYOP_ISOLATION": isolation}) as server:
        yield server, broken


def _check_damage_and_repair(server: RunningServer, broken: Pipeline, archive: Path) -> None:
    """The deployment tells what is wrong, others run, an upload of the same bytes repairs it."""
    client = server.client()
    status = client.build_pipeline("broken").status()
    assert status["status"] == "Error"
    assert "is damaged" in str(status["details"])
    sound = client.build_pipeline("sound").url()
    assert infer_until_running(server, sound, 4).json()[0]["out"]["doubled"] == 8
    refused = _deploy_again(server, broken)
    assert (refused.status_code, refused.json()["type"]) == (500, "stored_file_damaged")
    assert "upload it again" in refused.json()["error"]
    assert requests.get(f"{server.url}/ready", timeout=30).ok
    client.upload_model("broken", archive, "custom", NUMBERS, DOUBLED)
    assert _deploy_again(server, broken).ok
    repaired = client.build_pipeline("broken").url()
    assert infer_until_running(server, repaired, 4).json()[0]["out"]["doubled"] == 8
    client.close()


def _deploy_again(server: RunningServer, pipeline: Pipeline) -> requests.Response:
    return requests.post(
        f"{server.url}/v1/api/pipelines/deploy",
        json=deployment_request(server, pipeline),
        headers={"Authorization": f"Bearer {server.token()}"},
        timeout=120,
    )


@pytest.mark.parametrize("content", [_OTHER, _ZEROS])
def test_j05_corrupt_blob_is_told_by_its_deployment_and_repaired_by_an_upload(
    tmp_path: Path, isolation: str, content: bytes
) -> None:
    with _damaged(tmp_path, isolation, content) as (server, broken):
        _check_damage_and_repair(server, broken, tmp_path / "broken.zip")


def test_j06_empty_blob_is_told_by_its_deployment_and_repaired_by_an_upload(
    tmp_path: Path, isolation: str
) -> None:
    with _damaged(tmp_path, isolation, b"") as (server, broken):
        _check_damage_and_repair(server, broken, tmp_path / "broken.zip")
