"""2 GiB through the real server: its memory does not follow the size of an upload."""

import json
import shutil
import struct
import zlib
from collections.abc import Iterator

import pytest

from tests.attacks.upload_site import UPLOAD_PATH, UploadSite, open_site
from tests.fakes.hostile_zips import Entry, build_zip

pytestmark = pytest.mark.long

_SIZE = 2 << 30
_BLOCK = bytes(1 << 20)
_MOST = 64 << 20


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, isolation: str) -> Iterator[UploadSite]:
    home = tmp_path_factory.mktemp("large") / "home"
    with open_site(home, isolation) as site:
        yield site
    shutil.rmtree(home, ignore_errors=True)


def test_two_gib_raise_the_servers_memory_by_less_than_64_mib(site: UploadSite) -> None:
    assert site.upload(b"not a zip").status_code == 400  # what the first upload loads is loaded
    with site.growth(below_bytes=_MOST):
        answer = site.session.post(
            site.server.url + UPLOAD_PATH,
            data=_body(site.workspace_id, _large_zip()),
            headers={"Content-Type": "multipart/form-data; boundary=b0"},
            timeout=300,
        )
    assert answer.status_code == 200, answer.text
    assert max(site.files().values()) > _SIZE


def _large_zip() -> Iterator[bytes]:
    """Yield a zip of a python step and 2 GiB of stored zeros, never whole in memory."""
    crc = 0
    for _ in range(_SIZE // len(_BLOCK)):
        crc = zlib.crc32(_BLOCK, crc)
    step = Entry(b"step.py", b"def process_data(input_data):\n    return input_data\n")
    zeros = Entry(b"weights.bin", b"", crc=crc, size=_SIZE, compressed=_SIZE)
    framed = build_zip([step, zeros])
    start = framed.index(b"PK\1\2")
    end = bytearray(framed[start:])
    struct.pack_into("<I", end, len(end) - 6, start + _SIZE)
    yield framed[:start]
    for _ in range(_SIZE // len(_BLOCK)):
        yield _BLOCK
    yield bytes(end)


def _body(workspace_id: int, content: Iterator[bytes]) -> Iterator[bytes]:
    metadata = {
        "name": "large",
        "workspace_id": workspace_id,
        "conversion": {"framework": "python"},
    }
    yield (
        '--b0\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n'
        f"{json.dumps(metadata)}\r\n--b0\r\n"
        'Content-Disposition: form-data; name="file"; filename="large.zip"\r\n\r\n'
    ).encode()
    yield from content
    yield b"\r\n--b0--\r\n"
