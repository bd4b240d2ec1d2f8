"""Group A of docs/security.md but A22: hostile zips through the real upload route."""

from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.attacks.upload_site import UploadSite, open_site
from tests.fakes.hostile_zips import HOSTILE, Entry, HostileZip, bomb, build_zip, many

_STEP = b"def process_data(input_data):\n    return input_data\n"
_MUCH = 32 << 20


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, isolation: str) -> Iterator[UploadSite]:
    with open_site(tmp_path_factory.mktemp("uploads") / "home", isolation) as site:
        yield site


def _of(number: str) -> pytest.MarkDecorator:
    """Run a case with each hostile zip of that number."""
    chosen = [hostile for hostile in HOSTILE if hostile.number == number]
    return pytest.mark.parametrize("hostile", chosen, ids=[one.fact for one in chosen])


def _require_refused(site: UploadSite, hostile: HostileZip) -> None:
    before = site.files()
    answer = site.upload(hostile.build())
    assert answer.status_code == 400, answer.text
    assert answer.json()["type"] == "invalid_archive"
    assert answer.json()["error"].startswith("Bad request: Not a valid ZIP file.")
    assert hostile.why in answer.json()["error"]
    assert site.files() == before


@_of("A1")
def test_a01_parent_folder_is_refused(site: UploadSite, hostile: HostileZip) -> None:
    _require_refused(site, hostile)


@_of("A2")
def test_a02_absolute_name_is_refused(site: UploadSite, hostile: HostileZip) -> None:
    _require_refused(site, hostile)


@_of("A3")
def test_a03_drive_letter_is_refused(site: UploadSite, hostile: HostileZip) -> None:
    _require_refused(site, hostile)


@_of("A4")
def test_a04_backslashes_are_no_way_out(site: UploadSite, hostile: HostileZip) -> None:
    _require_refused(site, hostile)


@_of("A5")
def test_a05_link_is_refused(site: UploadSite, hostile: HostileZip) -> None:
    _require_refused(site, hostile)


@_of("A6")
def test_a06_device_or_pipe_is_refused(site: UploadSite, hostile: HostileZip) -> None:
    _require_refused(site, hostile)


@_of("A7")
def test_a07_name_twice_is_refused(site: UploadSite, hostile: HostileZip) -> None:
    _require_refused(site, hostile)


@_of("A8")
def test_a08_names_that_differ_in_case_are_refused(site: UploadSite, hostile: HostileZip) -> None:
    _require_refused(site, hostile)


@_of("A9")
def test_a09_names_that_differ_in_unicode_form_are_refused(
    site: UploadSite, hostile: HostileZip
) -> None:
    _require_refused(site, hostile)


@_of("A10")
def test_a10_file_that_is_also_a_folder_is_refused(site: UploadSite, hostile: HostileZip) -> None:
    _require_refused(site, hostile)


@_of("A11")
def test_a11_control_characters_and_odd_names_are_refused(
    site: UploadSite, hostile: HostileZip
) -> None:
    _require_refused(site, hostile)


def test_a12_bomb_is_refused_unread(site: UploadSite) -> None:
    before, content = site.files(), bomb(1 << 30)
    with site.growth(below_bytes=_MUCH):
        answer = site.upload(content)
    assert answer.status_code == 400
    assert "unpacks to more than 200 times its size" in answer.json()["error"]
    assert site.files() == before


def test_a13_zip_in_the_zip_is_a_file_like_any_other(site: UploadSite) -> None:
    inner = bomb(8 << 20)
    entries = [Entry(b"step.py", _STEP), Entry(b"inner.zip", inner)]
    answer = site.upload(build_zip(entries), framework="python", name="nested")
    assert answer.status_code == 200, answer.text
    found = _unpacked(site.server.home / "models", "inner.zip")
    assert found.read_bytes() == inner
    assert {path.name for path in found.parent.iterdir()} == {"inner.zip", "step.py"}


def test_a14_sixty_five_thousand_entries_are_refused_unread(site: UploadSite) -> None:
    before, content = site.files(), many(65_000)
    with site.growth(below_bytes=_MUCH):
        answer = site.upload(content)
    assert answer.status_code == 400
    assert "more than 10000 entries" in answer.json()["error"]
    assert site.files() == before


@_of("A15")
def test_a15_entries_that_overlap_are_refused(site: UploadSite, hostile: HostileZip) -> None:
    _require_refused(site, hostile)


@_of("A16")
def test_a16_size_that_lies_is_refused(site: UploadSite, hostile: HostileZip) -> None:
    _require_refused(site, hostile)


@_of("A17")
def test_a17_zip64_that_contradicts_is_refused(site: UploadSite, hostile: HostileZip) -> None:
    _require_refused(site, hostile)


@_of("A18")
def test_a18_encrypted_entry_is_refused(site: UploadSite, hostile: HostileZip) -> None:
    _require_refused(site, hostile)


@_of("A19")
def test_a19_other_compression_is_refused(site: UploadSite, hostile: HostileZip) -> None:
    _require_refused(site, hostile)


@_of("A20")
def test_a20_cut_or_mixed_data_is_refused(site: UploadSite, hostile: HostileZip) -> None:
    _require_refused(site, hostile)


@_of("A21")
def test_a21_zip_without_a_file_or_python_is_refused(site: UploadSite, hostile: HostileZip) -> None:
    _require_refused(site, hostile)


def _unpacked(root: Path, name: str) -> Path:
    """Wait until a file of that name is there."""
    deadline = monotonic() + 60
    while True:
        for found in root.glob(f"[0-9a-f]*/{name}"):
            return found
        assert monotonic() < deadline, "the zip was not unpacked"
        sleep(0.02)
