"""A22 of docs/security.md: names in a zip that would take the place of another module."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from byop.client.client import Client
from tests.acceptance.projects import pack_project
from tests.fakes.servers import running_server

pytestmark = pytest.mark.registry

_SHADOWS = ("json", "numpy", "pyarrow", "mac", "byop", "wallaroo", "typing", "conftest")
_AT_START = ("sitecustomize", "usercustomize")
_TEXT = pa.schema([pa.field("text", pa.string())])
_PREDICT = """
    import json, sys
    import byop, mac
    files = {each.__name__: str(getattr(each, "__file__", "")) for each in (json, np, byop, mac)}
    told = {"files": files, "marks": [n for n in os.environ if n.startswith("CANARY")],
            "first": sys.path[0], "root": str(Path(__file__).parent),
            "safe": sys.flags.safe_path, "last": sys.path[-1]}
    return {"text": np.array([json.dumps(told)] * len(input_data["text"]))}
"""
_MARK = "import os\nos.environ['CANARY_{0}'] = __name__\n"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, isolation: str) -> Iterator[dict[str, object]]:
    """Return what the worker of a model with many bad names sees."""
    folder = tmp_path_factory.mktemp("shadows")
    archive = pack_project(folder, "shadow", predict=_PREDICT)
    with zipfile.ZipFile(archive, "a") as shadowed:
        for name in (*_SHADOWS, *_AT_START):
            shadowed.writestr(f"{name}/__init__.py", _MARK.format(name.upper()))
        shadowed.writestr("evil.pth", "import os; os.environ['CANARY_PTH'] = 'run'\n")
    with running_server(folder / "home", {"BYOP_ISOLATION": isolation}) as server:
        client = server.client()
        yield _ask(client, archive)
        client.close()


def _ask(client: Client, archive: Path) -> dict[str, object]:
    model = client.upload_model("shadow", archive, "custom", _TEXT, _TEXT)
    assert model.status() == "ready", model.error_summary()
    pipeline = client.build_pipeline("shadow").add_model_step(model).deploy()
    answer = pipeline.infer(pa.table({"text": ["x"]}))
    told: dict[str, object] = json.loads(answer["out.text"][0].as_py())
    return told


def test_a22_no_name_in_a_zip_takes_the_place_of_a_module(told: dict[str, object]) -> None:
    root, files = str(told["root"]), told["files"]
    assert isinstance(files, dict)
    assert [name for name, file in files.items() if file.startswith(root)] == []


def test_a22_nothing_in_a_zip_is_run_at_the_start_of_python(told: dict[str, object]) -> None:
    assert told["marks"] == []


def test_a22_model_folder_is_last_on_the_import_path(told: dict[str, object]) -> None:
    assert told["safe"]
    assert told["last"] == told["root"]
    assert told["first"] != told["root"]
