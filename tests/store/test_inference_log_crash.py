"""What a killed or starved process leaves behind, with real processes and real limits."""

import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from byop.ports.inference_log import LogOrder, LogQuery
from byop.store.inference_log import SqliteInferenceLog
from byop.store.log_batches import batch_folder
from tests.store.log_records import numbers_of, pages_of


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize(("records", "width"), [(10_000, 1), (500, 2000)], ids=["small", "large"])
def test_killed_process_loses_no_acknowledged_row_and_doubles_none(
    tmp_path: Path, durability: str, records: int, width: int
) -> None:
    """Small records lie in the database, large ones in a batch file."""
    path = tmp_path / "log.sqlite3"
    kill_after = random.SystemRandom().randrange(1, records)
    arguments = [str(path), str(records), durability, str(width)]
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.store.append_process", *arguments], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(kill_after)]
    child.kill()
    rest, _ = child.communicate()
    lines += rest.splitlines(keepends=True)
    whole = (line.split() for line in lines if line.endswith(b"\n"))
    acknowledged = {int(number): int(sequence) for number, sequence in whole}
    assert len(acknowledged) >= kill_after, f"killed after {kill_after}"
    assert batch_folder(path).exists() is (width > 1)

    log = SqliteInferenceLog(path)
    query = LogQuery("t", order=LogOrder.ASCENDING, limit=7777)
    numbers = [number for page in pages_of(log, query) for number in numbers_of(page)]
    log.close()
    assert len(numbers) == len(set(numbers))
    assert {number * width for number in acknowledged} <= set(numbers)
    assert len(numbers) % width == 0
    _assert_sequences(path, acknowledged, width)


def _assert_sequences(path: Path, acknowledged: dict[int, int], width: int) -> None:
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    sequences = [row[0] for row in connection.execute("SELECT seq FROM tail ORDER BY seq")]
    connection.close()
    assert sequences == list(range(0, len(sequences) * width, width))
    assert set(acknowledged.values()) <= set(sequences)


_STARVED = """
import asyncio, resource, sys
from pathlib import Path
from byop.errors import StorageUnavailableError
from byop.ports.inference_log import LogOrder, LogQuery
from byop.store.inference_log import SqliteInferenceLog
from tests.store.log_records import make_record, numbers_of

log = SqliteInferenceLog(Path(sys.argv[1]))
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

async def main():
    await log.append("t", make_record([1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, hard))
    outcomes = await asyncio.gather(
        log.append("t", make_record([2])),
        log.append("t", make_record(list(range(100, 50_000)))),
        log.append("t", make_record([3])),
        return_exceptions=True,
    )
    for outcome in outcomes:
        is_refused = isinstance(outcome, StorageUnavailableError)
        print(f"{outcome.code}: {outcome}" if is_refused else outcome.sequence)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    print((await log.append("t", make_record([4]))).sequence)

asyncio.run(main())
print(numbers_of(log.read(LogQuery("t", order=LogOrder.ASCENDING))))
log.close()
"""


def test_disk_that_refuses_fails_the_guilty_append_alone_and_the_writer_lives_on(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log.sqlite3"
    child = subprocess.run(
        [sys.executable, "-c", _STARVED, str(path)], capture_output=True, text=True, check=True
    )
    first, refused, third, after, rows = child.stdout.splitlines()
    assert refused.startswith("storage_full: the inference log refuses")
    assert [first, third, after] == ["1", "2", "3"]
    assert rows == "[1, 2, 3, 4]"
