import hashlib
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from byop.errors import InvalidArchiveError, NotFoundError, StoredFileDamagedError, TooLargeError
from byop.ports.blobs import StoredBlob
from byop.store.blobs import FileBlobStore

_LIMIT = 1 << 20


def put(
    store: FileBlobStore,
    chunks: Iterable[bytes],
    *,
    limit_bytes: int = _LIMIT,
    check: Callable[[Path], None] | None = None,
) -> StoredBlob:
    incoming = store.begin(limit_bytes=limit_bytes)
    try:
        for chunk in chunks:
            incoming.write(chunk)
        return incoming.commit(check)
    finally:
        incoming.discard()


def _files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_bytes_come_back_under_their_sha(tmp_path: Path) -> None:
    store = FileBlobStore(tmp_path)
    stored = put(store, [b"one", b"", b"two"])
    assert stored.sha == hashlib.sha256(b"onetwo").hexdigest()
    assert stored.size_bytes == 6
    assert store.path(stored.sha).read_bytes() == b"onetwo"


def test_same_bytes_are_kept_once(tmp_path: Path) -> None:
    store = FileBlobStore(tmp_path)
    first = put(store, [b"same"])
    second = put(store, [b"sa", b"me"])
    assert first == second
    assert len(_files(tmp_path)) == 1


def test_storing_again_heals_a_damaged_file(tmp_path: Path) -> None:
    store = FileBlobStore(tmp_path)
    sha = put(store, [b"whole"]).sha
    store.path(sha).chmod(0o600)
    store.path(sha).write_bytes(b"")
    put(store, [b"whole"])
    assert store.path(sha).read_bytes() == b"whole"


def test_file_of_exactly_the_limit_is_accepted_and_one_byte_more_refused(tmp_path: Path) -> None:
    store = FileBlobStore(tmp_path)
    assert put(store, [b"1234"], limit_bytes=4).size_bytes == 4
    kept = _files(tmp_path)
    with pytest.raises(TooLargeError):
        put(store, [b"1234", b"5"], limit_bytes=4)
    assert _files(tmp_path) == kept


def test_sender_that_breaks_off_leaves_nothing_and_its_error_passes(tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionResetError("gone")

    store = FileBlobStore(tmp_path)
    with pytest.raises(ConnectionResetError):
        put(store, broken())
    assert _files(tmp_path) == []


def test_check_sees_the_whole_file_and_its_refusal_leaves_nothing(tmp_path: Path) -> None:
    seen: list[bytes] = []

    def refuse(path: Path) -> None:
        seen.append(path.read_bytes())
        raise InvalidArchiveError

    store = FileBlobStore(tmp_path)
    with pytest.raises(InvalidArchiveError):
        put(store, [b"not a ", b"zip"], check=refuse)
    assert seen == [b"not a zip"]
    assert _files(tmp_path) == []


def test_file_is_not_there_before_it_is_committed(tmp_path: Path) -> None:
    store = FileBlobStore(tmp_path)
    incoming = store.begin(limit_bytes=_LIMIT)
    incoming.write(b"half")
    with pytest.raises(NotFoundError):
        store.path(hashlib.sha256(b"half").hexdigest())
    incoming.discard()
    incoming.discard()
    assert _files(tmp_path) == []


def test_committed_file_stays_when_its_writer_is_discarded(tmp_path: Path) -> None:
    store = FileBlobStore(tmp_path)
    assert store.verified_path(put(store, [b"kept"]).sha).read_bytes() == b"kept"


@pytest.mark.parametrize("damaged", [b"", b"whol", b"Whole", b"whole and more"])
def test_damaged_file_is_found_and_healed_by_storing_it_again(
    tmp_path: Path, damaged: bytes
) -> None:
    store = FileBlobStore(tmp_path)
    sha = put(store, [b"whole"]).sha
    store.path(sha).chmod(0o600)
    store.path(sha).write_bytes(damaged)
    with pytest.raises(StoredFileDamagedError, match=sha):
        store.verified_path(sha)
    put(store, [b"whole"])
    assert store.verified_path(sha).read_bytes() == b"whole"


def test_leftovers_of_a_crash_are_removed_at_open(tmp_path: Path) -> None:
    sha = put(FileBlobStore(tmp_path), [b"kept"]).sha
    (tmp_path / "incoming" / "tmpabc").write_bytes(b"half")
    store = FileBlobStore(tmp_path)
    assert _files(tmp_path) == [store.path(sha)]


@pytest.mark.parametrize("sha", ["0" * 64, "", "..", "../../etc/passwd", "incoming", "A" * 64])
def test_unknown_address_is_not_found(tmp_path: Path, sha: str) -> None:
    with pytest.raises(NotFoundError):
        FileBlobStore(tmp_path).path(sha)


def test_stored_file_is_read_only_for_its_owner_alone(tmp_path: Path) -> None:
    store = FileBlobStore(tmp_path)
    sha = put(store, [b"x"]).sha
    assert store.path(sha).stat().st_mode & 0o777 == 0o400


_FULL_DISK = """
import resource, sys
from pathlib import Path
from byop.errors import StorageUnavailableError
from byop.store.blobs import FileBlobStore
store = FileBlobStore(Path(sys.argv[1]))
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
incoming = store.begin(limit_bytes=1 << 20)
try:
    incoming.write(bytes(60_000))
    incoming.write(bytes(60_000))
except StorageUnavailableError:
    print("refused")
incoming.discard()
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
later = store.begin(limit_bytes=100)
later.write(b"later")
print(later.commit().size_bytes)
later.discard()
"""


def test_disk_that_refuses_keeps_nothing_and_recovers(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    child = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout.split() == ["refused", "5"]
    assert [path.stat().st_size for path in _files(tmp_path)] == [5]
