import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from byop.bundle.archive import open_archive, pack, read_entries, unpack
from byop.errors import InvalidArchiveError, InvalidBundleError, SecretInBundleError
from tests.bundle.sources import FILES, write_folder, write_zip

NOT_A_ZIP = "Bad request: Not a valid ZIP file."


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    names = ["b.py", "a.py", "deep/er/x.bin", "requirements.txt"]
    first = write_folder(tmp_path / "first", {name: name * 100 for name in names})
    second = write_folder(tmp_path / "second", {name: name * 100 for name in reversed(names)})
    for number, path in enumerate(sorted(second.rglob("*.*"))):
        os.utime(path, (1_000_000_000 + number, 1_000_000_000 + number))
        path.chmod(0o600 if number % 2 else 0o755)
    one = pack(first, tmp_path / "one.zip")
    two = pack(second, tmp_path / "two.zip")
    assert one.sha == two.sha
    assert one.path.read_bytes() == two.path.read_bytes()
    assert one.files == ("a.py", "b.py", "deep/er/x.bin", "requirements.txt")
    assert one.size_bytes == one.path.stat().st_size


def test_other_content_gives_another_sha(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "project", FILES)
    before = pack(folder, tmp_path / "a.zip").sha
    (folder / "factor.txt").write_text("4")
    assert pack(folder, tmp_path / "b.zip").sha != before


def test_entries_have_fixed_times_and_modes(tmp_path: Path) -> None:
    packed = pack(write_folder(tmp_path / "project", FILES), tmp_path / "a.zip")
    with zipfile.ZipFile(packed.path) as archive:
        for info in archive.infolist():
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert info.external_attr >> 16 == stat.S_IFREG | 0o644
            assert info.create_system == 3


def test_packing_into_the_folder_itself_leaves_the_zip_out(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "project", FILES)
    first = pack(folder, folder / "model.zip")
    assert pack(folder, folder / "model.zip").sha == first.sha
    assert first.files == tuple(sorted(FILES))


def test_empty_folder_is_not_packed(tmp_path: Path) -> None:
    with pytest.raises(InvalidBundleError, match="no files to pack"):
        pack(tmp_path, tmp_path / "a.zip")


def test_refused_packing_leaves_no_file(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "project", FILES | {".env": "KEY=value", "deep/id_rsa": "x"})
    with pytest.raises(SecretInBundleError, match=r"\.env, deep/id_rsa.*sidekick_env") as raised:
        pack(folder, tmp_path / "out" / "a.zip")
    assert raised.value.facts["paths"] == [".env", "deep/id_rsa"]
    assert not (tmp_path / "out").exists()


def test_secrets_are_packed_when_told_so(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "project", FILES | {".env": "KEY=value"})
    assert ".env" in pack(folder, tmp_path / "a.zip", allow_secrets=True).files


def test_included_secret_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, {"shared/prod.env": "KEY=value"})
    manifest = '[model]\nname = "m"\n[bundle]\ninclude = ["../shared/prod.env"]\n'
    folder = write_folder(tmp_path / "project", FILES | {"model.toml": manifest})
    with pytest.raises(SecretInBundleError):
        pack(folder, tmp_path / "a.zip")


def test_packed_folder_comes_back(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "project", FILES | {"deep/naïve.bin": bytes(range(256))})
    unpack(pack(folder, tmp_path / "a.zip").path, tmp_path / "out")
    assert files_below(tmp_path / "out") == files_below(folder)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.py", "b/c.py"], ["a.py", "b/c.py"]),
        (["top/a.py", "top/b/c.py"], ["a.py", "b/c.py"]),
        (["top/b/c.py"], ["b/c.py"]),
        (["one/a.py", "two/a.py"], ["one/a.py", "two/a.py"]),
        (["top/", "top/a.py"], ["a.py"]),
        (["top/a.py", "__MACOSX/top/._a.py", ".DS_Store"], ["a.py"]),
        (["top\\", "top\\a.py", "top\\b\\c.py"], ["a.py", "b/c.py"]),
        (["./a.py", "./"], ["a.py"]),
        (["top/a.py", "empty/"], ["a.py"]),
    ],
)
def test_single_top_folder_is_taken_off(
    tmp_path: Path, names: list[str], expected: list[str]
) -> None:
    unpack(write_zip(tmp_path / "a.zip", dict.fromkeys(names, "")), tmp_path / "out")
    assert sorted(files_below(tmp_path / "out")) == expected


def test_executable_stays_executable(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, mode in (("tool", 0o755), ("data", 0o666)):
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFREG | mode) << 16
            archive.writestr(info, "")
    unpack(tmp_path / "a.zip", tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out" / "tool").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "out" / "data").stat().st_mode) == 0o644


def test_unpacking_into_an_empty_folder_is_fine(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    unpack(write_zip(tmp_path / "a.zip", FILES), tmp_path / "out")
    assert sorted(files_below(tmp_path / "out")) == sorted(FILES)


def entry(name: str, *, mode: int = 0, content: str = "x") -> Callable[[zipfile.ZipFile], None]:
    def add(archive: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo("placeholder")
        info.filename = name
        info.external_attr = mode << 16
        archive.writestr(info, content)

    return add


def twice(archive: zipfile.ZipFile) -> None:
    entry("a.py")(archive)
    with pytest.warns(UserWarning, match="Duplicate name"):
        entry("a.py")(archive)


def under_a_file(archive: zipfile.ZipFile) -> None:
    entry("a")(archive)
    entry("a/b.py")(archive)


def by_bzip2(archive: zipfile.ZipFile) -> None:
    archive.writestr("a.py", "x", compress_type=zipfile.ZIP_BZIP2)


UNSAFE = {
    "parent": (entry("../outside.txt"), "would leave the target folder"),
    "parent within": (entry("a/../../outside.txt"), "would leave the target folder"),
    "parent that stays inside": (entry("a/../b.txt"), "would leave the target folder"),
    "absolute": (entry("/tmp/outside.txt"), "would leave the target folder"),  # noqa: S108
    "two slashes": (entry("//host/share.txt"), "would leave the target folder"),
    "drive letter": (entry("C:/outside.txt"), "would leave the target folder"),
    "drive letter, Windows slashes": (entry("C:\\outside.txt"), "would leave the target folder"),
    "parent, Windows slashes": (entry("..\\outside.txt"), "would leave the target folder"),
    "folder outside": (entry("../outside/", content=""), "would leave the target folder"),
    "link": (entry("a.py", mode=stat.S_IFLNK | 0o777, content="/etc/passwd"), "is a link"),
    "device": (entry("a.py", mode=stat.S_IFCHR | 0o666), "is a link or a device"),
    "pipe": (entry("a.py", mode=stat.S_IFIFO | 0o666), "is a link or a device"),
    "twice": (twice, "is in it twice"),
    "under a file": (under_a_file, "lies in a folder that is also a file"),
    "long name": (entry("a" * 256), "has a name longer than 255 bytes"),
    "no name": (entry(""), "has no name"),
    "other compression": (by_bzip2, "another method than deflate"),
}


@pytest.mark.parametrize(("fill", "why"), UNSAFE.values(), ids=UNSAFE.keys())
def test_unsafe_zip_is_refused_and_leaves_nothing(
    tmp_path: Path, fill: Callable[[zipfile.ZipFile], None], why: str
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        entry("fine.py")(archive)
        fill(archive)
    with pytest.raises(InvalidArchiveError, match=why) as raised:
        unpack(tmp_path / "a.zip", inside / "out")
    assert raised.value.message.startswith(NOT_A_ZIP)
    assert list(inside.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("inside", "a.zip")] == []


def test_encrypted_entry_is_refused(tmp_path: Path) -> None:
    content = bytearray(write_zip(tmp_path / "a.zip", {"a.py": "x"}).read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InvalidArchiveError, match="is encrypted"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_damaged_zip_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.bin": os.urandom(1000), "b.bin": os.urandom(1000)})
    content = bytearray(path.read_bytes())
    content[100:110] = bytes(10)
    path.write_bytes(content)
    with pytest.raises(InvalidArchiveError, match="It is damaged"):
        unpack(path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 half a zip"])
def test_file_that_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InvalidArchiveError) as raised:
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert raised.value.message == NOT_A_ZIP


def test_entries_are_sorted_and_without_the_top_folder(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"top/b.py": "", "top/a.py": "", "top/z/": ""})
    with open_archive(path) as archive:
        found = [each.path for each in read_entries(archive)]
    assert found == [PurePosixPath("a.py"), PurePosixPath("b.py")]
