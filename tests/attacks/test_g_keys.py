"""The seals of a server's stored secrets, attacked in its own files."""

import base64
import json
import secrets
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
import requests

from byop.client.deployment_config import DeploymentConfigBuilder
from byop.errors import SecretKeyInvalidError
from byop.store.secrets import AesGcmSecretBox, read_key_file
from tests.acceptance.projects import pack_project
from tests.attacks.canaries import Planted, canary
from tests.fakes.servers import ROOT, running_server, server_environ

pytestmark = pytest.mark.registry

TEXT = pa.schema([pa.field("text", pa.string())])
ANSWER = pa.schema([pa.field("answer", pa.string())])
TELLS = """
shown = os.environ["A"][:10] + os.environ["B"][:10]
return {"answer": np.array([shown] * len(input_data["text"]), dtype=object)}
"""


def _new_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


@pytest.fixture(scope="module")
def planted() -> Planted:
    return Planted({"a": canary("a"), "b": canary("b")})


@pytest.fixture(scope="module")
def kept(
    tmp_path_factory: pytest.TempPathFactory, planted: Planted, isolation: str
) -> tuple[Path, str]:
    """Return a stopped server's data directory, and the address of what it runs."""
    folder = tmp_path_factory.mktemp("keys")
    home = folder / "home"
    with running_server(home, {"BYOP_ISOLATION": isolation}) as server:
        client = server.client()
        archive = pack_project(folder, "teller", predict=TELLS)
        model = client.upload_model("teller", archive, "custom", TEXT, ANSWER)
        variables = {"A": planted.values["a"], "B": planted.values["b"]}
        config = DeploymentConfigBuilder().sidekick_env(model, variables).build()
        pipeline = client.build_pipeline("teller").add_model_step(model).deploy(config)
        path = pipeline.url().removeprefix(server.url)
    return home, path


@pytest.fixture
def home(kept: tuple[Path, str], tmp_path: Path) -> Path:
    copy = tmp_path / "home"
    shutil.copytree(kept[0], copy)
    return copy


def _byop(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "byop", *arguments],
        cwd=ROOT,
        env=server_environ(home, variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _refused_start(home: Path, **variables: str) -> str:
    done = _byop(home, "serve", "--port", "0", **variables)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "byop is ready" not in done.stdout
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    return errors[0]


def _tells_the_same(home: Path, path: str, planted: Planted, isolation: str, **more: str) -> None:
    with running_server(home, {"BYOP_ISOLATION": isolation, **more}) as server:
        header = {"Authorization": f"Bearer {server.token()}"}
        body = [{"text": "x"}]
        answer = requests.post(server.url + path, json=body, headers=header, timeout=120)
        assert answer.ok, answer.text
        told = planted.values["a"][:10] + planted.values["b"][:10]
        assert answer.json()[0]["out"]["answer"] == told


def test_g15_stored_values_are_sealed_under_nonces_that_never_repeat(home: Path) -> None:
    with closing(sqlite3.connect(home / "metadata.sqlite3")) as database:
        rows = database.execute("SELECT sealed_value FROM deployment_variables").fetchall()
    assert len(rows) == 2
    (key,) = read_key_file(home / "secret.key")
    box = AesGcmSecretBox(key)
    sealed = [row[0] for row in rows] + [box.seal("x", context="c") for _ in range(10_000)]
    assert {one[:9] for one in sealed} == {sealed[0][:9]}
    assert len({one[9:21] for one in sealed}) == len(sealed)


@pytest.mark.parametrize("change", ["swapped", "renamed", "another deployment", "one bit"])
def test_g15_values_that_were_moved_or_changed_do_not_open(home: Path, change: str) -> None:
    statements = {
        "swapped": "UPDATE deployment_variables SET sealed_value = (SELECT sealed_value FROM"
        " deployment_variables AS other WHERE other.name != deployment_variables.name)",
        "renamed": "UPDATE deployment_variables SET name = 'C' WHERE name = 'A'",
        "another deployment": "UPDATE deployment_variables SET model_version_id = NULL",
    }
    with closing(sqlite3.connect(home / "metadata.sqlite3")) as database, database:
        if change in statements:
            database.execute(statements[change])
        else:
            query = "SELECT id, sealed_value FROM deployment_variables"
            row_id, sealed = database.execute(query).fetchone()
            damaged = sealed[:-1] + bytes([sealed[-1] ^ 1])
            update = "UPDATE deployment_variables SET sealed_value = ? WHERE id = ?"
            database.execute(update, (damaged, row_id))
    assert "was changed, or belongs elsewhere" in _refused_start(home)


def test_g16_missing_key_fails_closed(home: Path) -> None:
    (home / "secret.key").unlink()
    assert "is missing" in _refused_start(home)
    assert not (home / "secret.key").exists()


def test_g16_wrong_key_fails_closed(home: Path) -> None:
    assert "another key" in _refused_start(home, BYOP_SECRET_KEY=_new_key())


def test_g16_wrong_key_fails_closed_when_the_check_file_is_gone(home: Path) -> None:
    (home / "secret-key.check").unlink()
    assert "another key" in _refused_start(home, BYOP_SECRET_KEY=_new_key())


def test_g16_one_row_of_an_unknown_key_fails_closed(home: Path) -> None:
    foreign = AesGcmSecretBox(secrets.token_bytes(32))
    with closing(sqlite3.connect(home / "metadata.sqlite3")) as database, database:
        update = "UPDATE deployment_variables SET sealed_value = ? WHERE name = 'A'"
        database.execute(update, (foreign.seal("x", context="any"),))
    told = _refused_start(home)
    assert "deployment_variables (1)" in told
    assert foreign.key_ids[0] in told


def test_g16_rotation_seals_everything_anew_and_the_server_goes_on(
    home: Path, kept: tuple[Path, str], planted: Planted, isolation: str
) -> None:
    old_key = read_key_file(home / "secret.key")
    before = _sealed(home)
    done = _byop(home, "keys", "rotate")
    assert done.returncode == 0, done.stderr
    after = _sealed(home)
    assert read_key_file(home / "secret.key") != old_key
    assert before.keys() == after.keys()
    assert not {sealed[:9] for sealed in before.values()} & {one[:9] for one in after.values()}
    old = AesGcmSecretBox(*old_key)
    for sealed in after.values():
        with pytest.raises(SecretKeyInvalidError):
            old.require_key_of(sealed, place="")
    _tells_the_same(home, kept[1], planted, isolation)


def test_g16_key_in_the_environment_is_rotated_while_both_are_given(
    home: Path, kept: tuple[Path, str], planted: Planted, isolation: str
) -> None:
    old = (home / "secret.key").read_text().strip()
    (home / "secret.key").unlink()
    new = _new_key()
    both = {"BYOP_SECRET_KEY": new, "BYOP_SECRET_KEY_PREVIOUS": old}
    assert _byop(home, "keys", "rotate", BYOP_SECRET_KEY=old).returncode == 1
    done = _byop(home, "keys", "rotate", **both)
    assert done.returncode == 0, done.stderr
    assert "another key" in _refused_start(home, BYOP_SECRET_KEY=old)
    _tells_the_same(home, kept[1], planted, isolation, BYOP_SECRET_KEY=new)


def _sealed(home: Path) -> dict[str, bytes]:
    """Return every sealed thing of a data directory by its place."""
    found = {
        name: (home / name).read_bytes() for name in ("secret-key.check", "signing-key.sealed")
    }
    with closing(sqlite3.connect(home / "metadata.sqlite3")) as database:
        for table, key, column in (
            ("sealed_checks", "name", "sealed"),
            ("confidential_clients", "client_id", "sealed_secret"),
            ("deployment_variables", "id", "sealed_value"),
        ):
            for row_id, sealed in database.execute(f"SELECT {key}, {column} FROM {table}"):  # noqa: S608 - the names above
                found[json.dumps([table, row_id])] = sealed
    return found
