"""A12 of docs/security.md with source instead of zeros: cheap to send, dear to parse."""

from collections.abc import Iterator
from os import urandom
from time import monotonic, sleep

import pytest
import requests

from tests.attacks.upload_site import UploadSite, open_site
from tests.fakes.hostile_zips import Entry, build_zip

_DENSE = b"a;" * (1 << 18)
"""512 KiB that take Python's parser seconds, in one call, and 450 MiB."""

_VERSION_PATH = "/v1/api/models/get_version_by_id"
_MUCH = 64 << 20


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, isolation: str) -> Iterator[UploadSite]:
    with open_site(tmp_path_factory.mktemp("sources") / "home", isolation) as site:
        yield site


def test_a12_source_bomb_harms_neither_the_server_nor_other_clients(site: UploadSite) -> None:
    content = build_zip([Entry(b"step.py", _DENSE), Entry(b"more.py", b"x = 1\n")])
    with site.growth(below_bytes=_MUCH):
        answer = site.upload(content, framework="python", name="dense")
        assert answer.status_code == 200, answer.text
        began = monotonic()
        waits, summary = _others_waits(site, answer)
        took = monotonic() - began
    assert "A python step needs exactly one function process_data" in summary
    assert max(waits) < took / 2, f"a request waited {max(waits):.2f} s of the {took:.2f} s"


@pytest.mark.parametrize(
    "source",
    [b"(" * 100_000, b"-" * 500_000 + b"1", b"a" + b".b" * 250_000, b"x=" + b"1+" * 250_000 + b"1"],
    ids=["parentheses", "signs", "attributes", "sums"],
)
def test_a12_source_that_nests_deeply_is_an_error_of_its_model(
    site: UploadSite, source: bytes
) -> None:
    answer = site.upload(build_zip([Entry(b"step.py", source)]), framework="python", name="deep")
    assert answer.status_code == 200, answer.text
    assert "step.py is no valid Python: " in _others_waits(site, answer)[1]


def test_a12_source_over_the_limit_is_an_error_of_its_model(site: UploadSite) -> None:
    content = build_zip([Entry(b"step.py", b"a;" * (1 << 20)), Entry(b"weights", urandom(1 << 16))])
    answer = site.upload(content, framework="python", name="large")
    assert answer.status_code == 200, answer.text
    assert "step.py is larger than 1048576 bytes" in _others_waits(site, answer)[1]


def _others_waits(site: UploadSite, upload: requests.Response) -> tuple[list[float], str]:
    """Ask as another client until the model is done; return how long each answer took, and why."""
    (model,) = upload.json()["insert_models"]["returning"]
    question = {"model_version_id": model["models"][0]["id"]}
    waits: list[float] = []
    deadline = monotonic() + 120
    with requests.Session() as other:
        other.headers.update(site.session.headers)
        while monotonic() < deadline:
            began = monotonic()
            answer = other.post(site.server.url + _VERSION_PATH, json=question, timeout=60)
            waits.append(monotonic() - began)
            version = answer.json()["model_version"]["model_version"]
            if version["status"] in {"ready", "error"}:
                return waits, version["error_summary"] or ""
            sleep(0.02)
    raise AssertionError("the model was not converted")
