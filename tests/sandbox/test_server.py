import socket

import openai
import pytest
import requests

from byop.errors import SettingsInvalidError
from byop.sandbox import Sandbox


def test_requests_are_recorded_without_the_key() -> None:
    with (
        Sandbox() as sandbox,
        openai.OpenAI(api_key=sandbox.api_key, base_url=sandbox.base_url) as client,
    ):
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
        (recorded,) = sandbox.requests
    assert (recorded.method, recorded.path) == ("POST", "/v1/chat/completions")
    assert b'"Hi"' in recorded.body
    assert recorded.headers["content-type"] == "application/json"
    assert sandbox.api_key not in repr(recorded)


def test_only_the_last_requests_are_kept() -> None:
    with Sandbox(keep_requests=2) as sandbox:
        for number in range(4):
            requests.get(f"{sandbox.base_url}/{number}", timeout=30)
        assert [one.path for one in sandbox.requests] == ["/v1/2", "/v1/3"]


def test_generated_keys_differ() -> None:
    with Sandbox() as one, Sandbox() as other:
        assert one.api_key != other.api_key


def test_after_the_block_nothing_listens() -> None:
    with Sandbox() as sandbox:
        address = sandbox.base_url.removeprefix("http://").removesuffix("/v1")
    host, _, port = address.partition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5)


def test_taken_port_is_a_typed_error() -> None:
    with Sandbox() as sandbox:
        port = int(sandbox.base_url.removesuffix("/v1").rpartition(":")[2])
        with pytest.raises(SettingsInvalidError, match="cannot listen on"):
            Sandbox(port=port)
