"""A model that looks for what another model of the same server knows, in both isolation levels."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
import requests

from byop.client.deployment_config import DeploymentConfigBuilder
from tests.acceptance.projects import pack_project
from tests.attacks.canaries import Planted, canary
from tests.fakes.servers import RunningServer, running_server

pytestmark = pytest.mark.registry

TEXT = pa.schema([pa.field("text", pa.string())])
ANSWER = pa.schema([pa.field("answer", pa.string())])

SHARED = ["models", "environments", "isolation"]
"""Below these the seeker has something of its own."""

RUNS = """
scope = {}
exec(input_data["text"][0], scope)
return {"answer": np.array([str(scope["found"])], dtype=object)}
"""
KNOWS = (
    """
import tempfile
secret = os.environ["KEY"]
kept = Path(tempfile.gettempdir()) / "kept"
kept.write_text(secret)
"""
    + RUNS
)
ABOUT_ITSELF = """
import json, os, tempfile
found = json.dumps({"pid": os.getpid(), "kept": tempfile.gettempdir() + "/kept"})
"""
SEARCH_PROC = """
import os
needles = [text[::-1].encode() for text in {reversed_needles}]
found, opened = [], 0

def regions(pid):
    for line in open(f"/proc/{{pid}}/maps"):
        place, rights, *_ = line.split()
        start, end = (int(part, 16) for part in place.split("-"))
        if rights.startswith("r") and end - start < 64 << 20:
            yield start, end - start

def contents(pid):
    for name in ("environ", "cmdline", "auxv"):
        try:
            yield name, open(f"/proc/{{pid}}/{{name}}", "rb").read()
        except OSError:
            pass
    try:
        with open(f"/proc/{{pid}}/mem", "rb", 0) as memory:
            for start, size in regions(pid):
                try:
                    memory.seek(start)
                    yield "mem", memory.read(size)
                except (OSError, ValueError, OverflowError):
                    pass
    except OSError:
        pass

try:
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
except OSError:
    pids = {pids}
for pid in {{*pids, *{pids}}} - {{os.getpid()}}:
    for name, content in contents(pid):
        opened += 1
        if any(needle in content for needle in needles):
            found.append((pid, name))
"""
TRACE = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
SEIZE = 0x4206
found = [pid for pid in {pids} if pid != os.getpid() and libc.ptrace(SEIZE, pid, None, None) == 0]
"""
READ_PATHS = """
import os
found = []
for path in {paths}:
    try:
        if os.path.isdir(path):
            found += [name for name in os.listdir(path) if name not in {shared}]
        else:
            open(path, "rb").close()
            found.append(path)
    except OSError:
        pass
"""
WRITE_PATHS = """
found = None
for path in {paths}:
    try:
        with open(path, "ab") as file:
            file.write({reversed_marker}[::-1])
    except OSError:
        pass
"""
CONNECT = """
import re, socket
try:
    text = open("/proc/net/unix").read()
except OSError:
    text = ""
found = []
for path in {{*re.findall(r"(/\\S+)$", text, re.MULTILINE), *{paths}}}:
    if "byop" not in path and "run" not in path:
        continue
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        try:
            connection = socket.socket(socket.AF_UNIX, kind)
            connection.settimeout(1)
            connection.connect(path)
            if path.endswith(".sock"):
                found.append(path)
        except OSError:
            pass
"""


@dataclass
class Neighbours:
    """A model that knows a secret, and one that wants it."""

    server: RunningServer
    planted: Planted
    level: str
    knower: str
    seeker: str

    def ask(self, url: str, code: str) -> str:
        """Return what the code found, run inside the model."""
        header = {"Authorization": f"Bearer {self.server.token()}"}
        answer = requests.post(url, json=[{"text": code}], headers=header, timeout=60)
        assert answer.ok, answer.text
        return str(answer.json()[0]["out"]["answer"])

    def seek(self, code: str, **values: object) -> str:
        """Return what the seeker found."""
        shown = {name: repr(value) for name, value in values.items()}
        return self.ask(self.seeker, code.format(**shown) if shown else code)

    def about_the_knower(self) -> dict[str, str]:
        """Return where the knower keeps its secret, and its process id as it sees it."""
        told: dict[str, str] = json.loads(self.ask(self.knower, ABOUT_ITSELF))
        return told


@pytest.fixture(scope="module")
def neighbours(tmp_path_factory: pytest.TempPathFactory, isolation: str) -> Iterator[Neighbours]:
    folder = tmp_path_factory.mktemp("neighbours")
    planted = Planted({"key": canary("key"), "secret of the server": canary("server")})
    outside = {
        "BYOP_ISOLATION": isolation,
        "BYOP_ADMIN_PASSWORD": planted.values["secret of the server"],
    }
    with running_server(folder / "home", outside) as server:
        client = server.client()
        urls = {}
        for name, predict in (("knower", KNOWS), ("seeker", RUNS)):
            archive = pack_project(folder, name, predict=predict)
            model = client.upload_model(name, archive, "custom", TEXT, ANSWER)
            assert model.status() == "ready", model.error_summary()
            variables = {"KEY": planted.values["key"]} if name == "knower" else {}
            config = DeploymentConfigBuilder().sidekick_env(model, variables).build()
            pipeline = client.build_pipeline(name).add_model_step(model)
            urls[name] = pipeline.deploy(config).url()
        level = requests.get(f"{server.url}/health", timeout=60).json()["isolation"]
        yield Neighbours(server, planted, level, urls["knower"], urls["seeker"])


@pytest.fixture
def confined(neighbours: Neighbours) -> Neighbours:
    """Return the neighbours where files are confined; docs/security.md says where they are not."""
    if neighbours.level == "process":
        pytest.skip("neither bubblewrap nor landlock works on this machine")
    return neighbours


def test_seeker_does_run_code_and_knower_does_know(neighbours: Neighbours) -> None:
    assert neighbours.seek("found = 6 * 7") == "42"
    read_own = "found = open({path}).read()"
    kept = neighbours.about_the_knower()["kept"]
    shown = neighbours.ask(neighbours.knower, read_own.format(path=repr(kept)))
    assert neighbours.planted.found_in(shown) == ["key"]


def test_g09_no_environment_or_memory_of_another_process_holds_a_secret(
    neighbours: Neighbours,
) -> None:
    pids = [neighbours.server.pid, *(worker.pid for worker in neighbours.server.workers())]
    needles = [value[::-1] for value in neighbours.planted.values.values()]
    code = SEARCH_PROC.format(reversed_needles=needles, pids=pids)
    assert neighbours.ask(neighbours.seeker, code) == "[]"


def test_g09_no_other_process_can_be_traced(neighbours: Neighbours) -> None:
    pids = [neighbours.server.pid, *(worker.pid for worker in neighbours.server.workers())]
    pids.append(int(neighbours.about_the_knower()["pid"]))
    own = int(neighbours.seek("import os\nfound = os.getpid()"))
    assert neighbours.seek(TRACE, pids=[pid for pid in pids if pid != own]) == "[]"


def test_g09_environment_in_proc_holds_no_variable_even_for_root(neighbours: Neighbours) -> None:
    workers = neighbours.server.workers()
    assert len(workers) >= 2
    for worker in workers:
        raw = Path(f"/proc/{worker.pid}/environ").read_bytes()
        assert neighbours.planted.found_in(raw) == []


def test_g10_no_file_of_the_server_or_of_another_model_opens(confined: Neighbours) -> None:
    home = confined.server.home
    others = [str(path) for path in home.rglob("*") if _is_anothers(path)]
    names = {Path(path).name for path in others}
    assert {"secret.key", "metadata.sqlite3", "initial-credentials.json", "run"} <= names
    asked = [str(home), *others, str(confined.server.output)]
    assert confined.seek(READ_PATHS, paths=asked, shared=SHARED) == "[]"

    # In a sandbox a write to such a path may succeed, in a folder that is the seeker's alone. The
    # marker is reversed because the inference log keeps the request.
    marker = canary("marker").encode()
    confined.seek(WRITE_PATHS, paths=[*asked, str(home / "new")], reversed_marker=marker[::-1])
    assert not (home / "new").exists()
    assert [path for path in others if marker in _content(Path(path))] == []


def test_g10_what_another_model_wrote_for_itself_does_not_open(confined: Neighbours) -> None:
    kept = confined.about_the_knower()["kept"]
    assert confined.seek(READ_PATHS, paths=[kept], shared=[]) == "[]"


def test_g10_no_socket_of_another_model_can_be_reached(neighbours: Neighbours) -> None:
    run = neighbours.server.home / "run"
    sockets = [str(path) for path in run.rglob("*")]
    assert neighbours.seek(CONNECT, paths=sockets) == "[]"


def _is_anothers(path: Path) -> bool:
    """Tell what is no part of the seeker's own view: its project and its scratch folder."""
    return not set(SHARED) & set(path.parts)


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
