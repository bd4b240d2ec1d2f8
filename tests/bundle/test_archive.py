import io
import os
import shutil
import stat
import subprocess
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from typing_extensions import Buffer, override

from byop.bundle.archive import pack, unpack
from byop.bundle.archive_limits import ArchiveLimits
from byop.bundle.archive_reader import check_archive, open_archive
from byop.errors import InvalidArchiveError, InvalidBundleError, SecretInBundleError
from tests.bundle.sources import FILES, write_folder, write_zip
from tests.fakes.hostile_zips import HOSTILE, Entry, HostileZip, build_zip, zips

ZIP = shutil.which("zip") or ""
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
    assert stat.S_IMODE((tmp_path / "out" / "tool").stat().st_mode) == 0o555
    assert stat.S_IMODE((tmp_path / "out" / "data").stat().st_mode) == 0o444


def test_unpacking_into_an_empty_folder_is_fine(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    unpack(write_zip(tmp_path / "a.zip", FILES), tmp_path / "out")
    assert sorted(files_below(tmp_path / "out")) == sorted(FILES)


def test_unpacked_folder_is_read_only(tmp_path: Path) -> None:
    unpack(write_zip(tmp_path / "a.zip", {"a.py": "", "deep/b.py": ""}), tmp_path / "out")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("out/**/*")}
    assert modes == {"a.py": 0o444, "deep": 0o555, "b.py": 0o444}
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o555


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda one: f"{one.number} {one.fact}")
def test_hostile_zip_is_refused_and_leaves_nothing(tmp_path: Path, hostile: HostileZip) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(hostile.build())
    with pytest.raises(InvalidArchiveError, match=hostile.why) as raised:
        check_archive(archive, needs_python=True)
    assert raised.value.message.startswith(NOT_A_ZIP)
    if hostile.fact != "no Python":
        with pytest.raises(InvalidArchiveError):
            unpack(archive, tmp_path / "inside" / "out")
        assert list(tmp_path.glob("inside/*")) == []
    assert {path.name for path in tmp_path.iterdir()} <= {"inside", "a.zip"}


@given(content=zips())
@settings(max_examples=300, deadline=None)
def test_any_zip_is_refused_or_unpacked_as_zipfile_reads_it(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        archive, out = Path(scratch, "a.zip"), Path(scratch, "in", "out")
        archive.write_bytes(content)
        try:
            unpack(archive, out)
        except InvalidArchiveError:
            assert not out.exists()
        else:
            assert set(files_below(out).values()) <= read_by_zipfile(content)
        assert {path.name for path in Path(scratch).iterdir()} <= {"a.zip", "in"}
        assert {path.name for path in Path(scratch).glob("in/*")} <= {"out"}


def read_by_zipfile(content: bytes) -> set[bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {archive.read(info) for info in archive.infolist()}


class OnlyForward(io.RawIOBase):
    """A pipe, as far as a zip program can tell."""

    def __init__(self, sink: io.BytesIO) -> None:
        self._sink = sink

    @override
    def writable(self) -> bool:
        return True

    @override
    def write(self, data: Buffer, /) -> int:
        return self._sink.write(data)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
@pytest.mark.parametrize("force_zip64", [False, True])
@pytest.mark.parametrize("streamed", [False, True])
def test_honest_zip_of_any_layout_is_unpacked(
    tmp_path: Path, compression: int, force_zip64: bool, streamed: bool
) -> None:
    sink = io.BytesIO()
    target = OnlyForward(sink) if streamed else sink
    with zipfile.ZipFile(target, "w", compression) as archive:
        archive.comment = b"made by hand"
        for name in ("a.py", "deep/b.bin"):
            with archive.open(name, "w", force_zip64=force_zip64) as file:
                file.write(name.encode() * 99)
    (tmp_path / "a.zip").write_bytes(sink.getvalue())
    unpack(tmp_path / "a.zip", tmp_path / "out")
    assert files_below(tmp_path / "out") == {"a.py": b"a.py" * 99, "deep/b.bin": b"deep/b.bin" * 99}


@pytest.mark.skipif(not ZIP, reason="the program zip is not here")
@pytest.mark.parametrize("arguments", [["-r", "x.zip", "."], ["-r", "-fd", "x.zip", "."]])
def test_zip_of_the_program_zip_is_unpacked(tmp_path: Path, arguments: list[str]) -> None:
    folder = write_folder(tmp_path / "project", FILES | {"deep/na\u00efve.bin": b"x" * 9999})
    subprocess.run([ZIP, "-q", *arguments], cwd=folder, check=True)
    unpack(folder / "x.zip", tmp_path / "out")
    (folder / "x.zip").unlink()
    assert files_below(tmp_path / "out") == files_below(folder)


def test_name_in_utf8_without_the_flag_is_read_as_such(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(build_zip([Entry("ä.txt".encode(), flags=0)]))
    unpack(tmp_path / "a.zip", tmp_path / "out")
    assert list(files_below(tmp_path / "out")) == ["ä.txt"]


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (ArchiveLimits(total_bytes=9), "more than 9 bytes"),
        (ArchiveLimits(entries=1), "more than 1 entries"),
        (ArchiveLimits(depth=1), "deeper than 1"),
        (ArchiveLimits(path_bytes=3), "longer than 3 bytes"),
    ],
)
def test_limits_are_those_that_were_given(tmp_path: Path, limits: ArchiveLimits, why: str) -> None:
    archive = write_zip(tmp_path / "a.zip", {"a.py": "12345", "d/b.py": "12345"})
    unpack(archive, tmp_path / "fine", ArchiveLimits(10, 2, 200, 2, 6))
    with pytest.raises(InvalidArchiveError, match=why):
        unpack(archive, tmp_path / "out", limits)


def test_many_small_files_of_a_high_ratio_are_refused(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {f"{n}.bin": bytes(1 << 20) for n in range(2)})
    with pytest.raises(InvalidArchiveError, match="It unpacks to more than 200 times its size"):
        unpack(archive, tmp_path / "out")


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
        found = [each.path for each in archive.entries]
    assert found == [PurePosixPath("a.py"), PurePosixPath("b.py")]
