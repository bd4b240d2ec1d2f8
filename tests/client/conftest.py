from collections.abc import Iterator

import pytest

from byop.client import Client, UserPassword
from tests.fakes.api_server import EMAIL, ApiServer, running_api_server


@pytest.fixture
def api() -> Iterator[ApiServer]:
    with running_api_server() as server:
        yield server


@pytest.fixture
def client(api: ApiServer) -> Iterator[Client]:
    connected = Client(api.url, credentials=UserPassword(EMAIL, "secret"), request_timeout=5)
    yield connected
    connected.close()
