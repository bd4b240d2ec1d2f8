"""One server and one folder of files for all notebooks."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from byop.client import alias
from tests.fakes.servers import RunningServer, running_server
from tests.seeds.fraud_model import random_rows, write_fraud_model

SMOKE_ROWS = 1


@pytest.fixture(scope="session")
def seed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("seeds") / "home") as server:
        yield server


@pytest.fixture(scope="session")
def notebook_folder(seed_server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the files that the documents open."""
    folder = tmp_path_factory.mktemp("notebooks")
    kept = (seed_server.home / "initial-credentials.json").read_text()
    for name in ("creds.json", "creds.json.example"):
        (folder / name).write_text(kept)
    write_fraud_model(folder / "ccfraud.onnx")
    data = folder / "data"
    data.mkdir()
    _write_arrow(data / "cc_data_10k.arrow", fraud_table(10_000))
    fraud_table(1_000).to_pandas().to_json(data / "cc_data_10k.df.json", orient="records")
    fraud_table(SMOKE_ROWS).to_pandas().to_json(data / "smoke_test.df.json", orient="records")
    return folder


@pytest.fixture(scope="module")
def environment() -> Iterator[pytest.MonkeyPatch]:
    """Serve ``import wallaroo`` and undo what the snippets do to the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WALLAROO_URL", "WALLAROO_USER", "WALLAROO_PASSWORD", "WALLAROO_AUTH_URL"):
            patch.delenv(name, raising=False)
        patch.setenv("WALLAROO_SDK_CREDENTIALS", "")
        patch.setattr(sys, "meta_path", [*sys.meta_path])
        alias.install()
        yield patch
        for name in [name for name in sys.modules if name.partition(".")[0] == "wallaroo"]:
            del sys.modules[name]


def fraud_table(rows: int) -> pa.Table:
    """Return an input table of the fraud model."""
    values = pa.FixedSizeListArray.from_arrays(pa.array(random_rows(rows).ravel()), 29)
    return pa.table({"tensor": values.cast(pa.list_(pa.float32()))})


def _write_arrow(path: Path, table: pa.Table) -> None:
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
