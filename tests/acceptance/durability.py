"""What must be true of a data directory after its server was killed and started again."""

import hashlib
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
import requests

from tests.acceptance.deploying import open_read_only
from tests.acceptance.mixed_workload import (
    LOAD,
    Ledger,
    Stage,
    infer_path,
)
from tests.fakes.servers import RunningServer

_DEADLINE_S = 60.0
_ORPHAN_DEADLINE_S = 3.0
T = TypeVar("T")
_VERSIONS = """
    SELECT v.id, m.name, v.sha, v.size_bytes, v.status, v.error_summary
    FROM model_versions v JOIN models m ON m.id = v.model_id
"""


def seconds_until_gone(processes: list[psutil.Process]) -> float:
    """Return how long the processes still lived; fail when they do not end by themselves.

    A zombie has ended: when it is reaped is up to the machine's first process, and took that of
    a container 2 s.
    """
    began = time.monotonic()
    while alive := [process for process in processes if _lives(process)]:
        assert time.monotonic() - began < _ORPHAN_DEADLINE_S, f"left behind: {alive}"
        time.sleep(0.005)
    return time.monotonic() - began


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def check_all(server: RunningServer, ledger: Ledger, stage: Stage, *, since: int = 1) -> None:
    """Check everything; of the log only the requests from that number on."""
    check_databases(server.home)
    check_versions(server, ledger)
    check_blobs(server.home)
    check_workspaces(server, ledger)
    check_deployments(server, ledger, stage)
    check_rows(server, ledger, since=since)
    check_left_overs(server)


def check_databases(home: Path) -> None:
    """Every database is sound."""
    found = list(home.glob("*.sqlite3"))
    assert len(found) >= 2, found
    for path in found:
        with closing(open_read_only(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)], path
            assert database.execute("PRAGMA foreign_key_check").fetchall() == [], path


def check_versions(server: RunningServer, ledger: Ledger) -> None:
    """Every acknowledged version is there, every version is whole, and none is there twice."""
    rows = _wait_for(lambda: _versions(server.home), _are_converted)
    blobs = server.home / "blobs"
    for _, name, sha, size, status, why in rows:
        assert ledger.uploads[name] == sha
        assert (blobs / sha[:2] / sha).stat().st_size == size
        assert status == "ready", (name, why)
    names = Counter(row[1] for row in rows)
    assert set(names.values()) == {1}
    stored = {(row[0], row[1], row[2]) for row in rows}
    assert {(v.id, v.name, v.sha) for v in ledger.versions} <= stored


def check_blobs(home: Path) -> None:
    """Every blob is what its name says."""
    for path in (home / "blobs").glob("??/*"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def check_workspaces(server: RunningServer, ledger: Ledger) -> None:
    """Every acknowledged workspace is there once; nothing else is."""
    answer = _post(server, "/v1/api/workspaces/list", {})
    names = Counter(
        item["name"] for item in answer.json()["workspaces"] if item["name"].startswith("workspace")
    )
    assert ledger.acknowledged_workspaces <= set(names) <= ledger.workspaces
    assert set(names.values()) <= {1}


def check_deployments(server: RunningServer, ledger: Ledger, stage: Stage) -> None:
    """What was acknowledged to run runs again, what was undeployed does not.

    What the server did not come to acknowledge is one or the other; the ledger learns which.
    """
    for name, deployable in stage.deployables.items():
        answer = _settled_status(server, deployable.address)
        is_running = answer.status_code != requests.codes.not_found
        if is_running:
            assert answer.json()["status"] == "Running", answer.text
            path = infer_path(name, deployable)
            first = ledger.next_request(1)
            assert _post(server, path, [{"number": first}]).json()[0]["out"]["doubled"] == 2 * first
            if name == LOAD:
                ledger.acknowledged_requests.add(first)
        assert ledger.deployed[name] in (None, is_running), name
        ledger.deployed[name] = is_running


def check_rows(server: RunningServer, ledger: Ledger, *, since: int) -> None:
    """Every acknowledged request is in the log once, every other one whole or not at all."""
    requests_sent = {first: size for first, size in ledger.requests.items() if first >= since}
    client = server.client()
    table = client.build_pipeline(LOAD).logs(limit=sum(requests_sent.values()), arrow=True)
    client.close()
    numbers = table["in.number"].to_numpy()
    assert np.array_equal(table["out.doubled"].to_numpy(), 2 * numbers)
    found, counts = np.unique(numbers, return_counts=True)
    assert counts.max() == 1, f"doubled: {found[counts > 1][:10]}"
    logged = set(found.tolist())
    for first, size in requests_sent.items():
        present = sum(number in logged for number in range(first, first + size))
        allowed = {size} if first in ledger.acknowledged_requests else {0, size}
        assert present in allowed, f"{present} of {size} rows from {first}"


def check_left_overs(server: RunningServer) -> None:
    """Nothing half-made lies about."""
    home = server.home
    assert list((home / "blobs" / "incoming").iterdir()) == []
    assert list((home / "models").glob(".*")) == []
    assert [path for path in home.glob(".*") if path.name.endswith(".new")] == []
    assert list(home.glob("run/*.sock")) == []


def _settled_status(server: RunningServer, address: str) -> requests.Response:
    """Return the status of a deployment once it does not start any more."""
    return _wait_for(
        lambda: _post(server, "/v1/api/status/get_deployment", {"name": address}),
        lambda answer: not answer.ok or answer.json()["status"] != "Starting",
    )


def _versions(home: Path) -> list[tuple[int, str, str, int, str, str | None]]:
    with closing(open_read_only(home / "metadata.sqlite3")) as database:
        return database.execute(_VERSIONS).fetchall()


def _are_converted(rows: list[tuple[int, str, str, int, str, str | None]]) -> bool:
    return all(status in ("ready", "error") for *_, status, _ in rows)


def _post(server: RunningServer, path: str, body: object) -> requests.Response:
    return requests.post(
        server.url + path,
        json=body,
        headers={"Authorization": f"Bearer {server.token()}"},
        timeout=120,
    )


def _wait_for(ask: Callable[[], T], is_done: Callable[[T], bool]) -> T:
    deadline = time.monotonic() + _DEADLINE_S
    while not is_done(found := ask()):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found
