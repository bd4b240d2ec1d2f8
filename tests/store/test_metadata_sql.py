"""What is particular to the SQL store: the file, its transactions, its revisions."""

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event

from byop.domain.identifiers import DeploymentId, ModelVersionId, UserId, WorkspaceId
from byop.domain.users import User
from byop.errors import (
    InvalidInputError,
    SecretKeyInvalidError,
    SettingsInvalidError,
    StorageUnavailableError,
)
from byop.store import migrations
from byop.store.metadata import SqlMetadataStore
from byop.store.migrations.runner import HEAD
from byop.store.secrets import AesGcmSecretBox
from byop.store.tables import metadata
from tests.store.metadata_filling import ADA, VARIABLES, add_model, at, config_for, fill

KEPT = Path(__file__).parent / "data" / "metadata-v1.sqlite3"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metadata.sqlite3"


@contextmanager
def _opened(path: Path, *, key: bytes = bytes(32)) -> Iterator[SqlMetadataStore]:
    store = SqlMetadataStore(f"sqlite:///{path}", secrets=AesGcmSecretBox(key))
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _counted_statements() -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if not statement.startswith(("BEGIN", "PRAGMA")):
            seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def test_ids_and_names_that_no_column_can_hold_are_refused_as_input(path: Path) -> None:
    with _opened(path) as store:
        fill(store)
        with pytest.raises(InvalidInputError, match="64 bits"):
            store.models.get_version(ModelVersionId(2**63))
        with pytest.raises(InvalidInputError, match="lone surrogate"):
            store.pipelines.find(WorkspaceId(1), "\ud800")
        with pytest.raises(InvalidInputError, match="64 bits"):
            store.deployments.set_deployed(DeploymentId(-(2**63) - 1), is_deployed=True)


def test_listings_take_three_statements_however_many_rows_there_are(path: Path) -> None:
    with _opened(path) as store:
        filled = fill(store)
        for number in range(5):
            workspace = store.workspaces.add(f"w{number}", owner=ADA.id, created_at=at(9))
            model = add_model(store, workspace.id, f"v{number}")
            pipeline, version = store.pipelines.add_version(
                name="main",
                workspace_id=workspace.id,
                owner=ADA.id,
                version=f"p{number}",
                steps=[],
                created_at=at(9),
            )
            store.deployments.add(
                name="d",
                pipeline_id=pipeline.id,
                pipeline_version_id=version.id,
                workspace_id=workspace.id,
                config=config_for(model),
                created_at=at(9),
            )
        with _counted_statements() as statements:
            assert len(store.workspaces.list_all()) == 6
        assert len(statements) == 3
        with _counted_statements() as statements:
            assert len(store.deployments.list_deployed()) == 6
        assert len(statements) == 3
        with _counted_statements() as statements:
            store.models.list_unfinished()
            store.models.get_version(filled.model.id)
        assert len(statements) == 2


def test_environment_values_lie_sealed_on_disk(path: Path) -> None:
    with _opened(path) as store:
        fill(store)
        stored = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert VARIABLES["API_KEY"].encode() not in stored
    assert b"API_KEY" in stored


def test_sealed_value_moved_to_another_variable_does_not_open(path: Path) -> None:
    with _opened(path) as store:
        filled = fill(store)
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE deployment_variables SET name = 'OTHER' WHERE id = 1")
        connection.close()
        with pytest.raises(SecretKeyInvalidError):
            store.deployments.get(filled.deployment.id)


def test_another_key_is_refused_at_open(path: Path) -> None:
    with _opened(path):
        pass
    with pytest.raises(SecretKeyInvalidError), _opened(path, key=b"k" * 32):
        pass


def test_files_are_private(path: Path) -> None:
    with _opened(path) as store:
        fill(store)
        files = list(path.parent.iterdir())
        assert len(files) == 3
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_file_is_in_wal_mode_with_a_revision(path: Path) -> None:
    with _opened(path):
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (HEAD,)
        connection.close()


def test_head_is_the_newest_revision_and_gives_the_tables_of_today(path: Path) -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert scripts.get_current_head() == HEAD
    with _opened(path):
        engine = create_engine(f"sqlite:///{path}")
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, metadata) == []
        engine.dispose()


def test_database_of_a_newer_byop_is_refused_and_left_alone(path: Path) -> None:
    with _opened(path):
        pass
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StorageUnavailableError, match="newer"), _opened(path):
        pass
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)
    connection.close()


def test_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(StorageUnavailableError), _opened(path):
        pass


def test_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailableError), _opened(tmp_path / "none" / "m.sqlite3"):
        pass


@pytest.mark.parametrize(
    "url",
    [
        "not a url secret",
        "nosuchdb://u:secret@h/d",
        "postgresql+nosuchdriver://u:secret@h/d",
        "postgresql://u:secret@h:port/d",
        "sqlite://",
    ],
)
def test_url_that_cannot_be_used_is_a_setting_error_without_the_url(url: str) -> None:
    with pytest.raises(SettingsInvalidError, match="BYOP_DATABASE_URL") as caught:
        SqlMetadataStore(url, secrets=AesGcmSecretBox(bytes(32)))
    assert "secret" not in str(caught.value)


def test_writers_in_many_threads_all_succeed(path: Path) -> None:
    with _opened(path) as store:
        barrier = threading.Barrier(8)

        def add(number: int) -> None:
            barrier.wait()
            for turn in range(5):
                name = f"{number}-{turn}"
                store.users.add(User(UserId(name), f"{name}@x", name, False, True, at(0), ""))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(add, range(8)))
        assert len(store.users.list_all()) == 40


def test_new_database_may_be_opened_by_many_at_once(path: Path) -> None:
    barrier = threading.Barrier(6)

    def open_and_read(_number: int) -> int:
        barrier.wait()
        with _opened(path) as store:
            return len(store.users.list_all())

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(open_and_read, range(6))) == [0] * 6


def test_kept_database_opens_and_every_noun_reads_as_it_was_written(path: Path) -> None:
    shutil.copy(KEPT, path)
    with _opened(path) as kept:
        fresh_path = path.with_name("fresh.sqlite3")
        with _opened(fresh_path) as fresh:
            expected = fill(fresh)
            assert kept.users.list_all() == fresh.users.list_all() == [ADA]
            assert kept.users.get_client("api-client") == fresh.users.get_client("api-client")
            assert kept.workspaces.list_all() == fresh.workspaces.list_all()
        assert kept.models.get_version(expected.model.id) == expected.model
        assert kept.pipelines.get(expected.pipeline.id) == expected.pipeline
        version = kept.pipelines.get_version(expected.pipeline_version.id)
        assert version == expected.pipeline_version
        assert kept.deployments.list_deployed() == [expected.deployment]
