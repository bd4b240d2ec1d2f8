import socket

import pytest
import requests

from byop.client.auth import PasswordAuth
from byop.client.credentials import UserPassword
from byop.client.unreachable import unreachable
from byop.errors import ApiError


def test_stopped_server_is_told_in_one_sentence_and_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
    auth = PasswordAuth(UserPassword("u", "canary"), endpoint=endpoint, timeout_s=5)
    with pytest.raises(ApiError) as caught:
        auth.token()
    assert str(caught.value) == (
        f"cannot reach {endpoint}: Connection refused. Does the server run (byop serve), "
        "and is this its address (api_endpoint or WALLAROO_URL)?"
    )


def test_error_without_a_reason_of_the_system_keeps_its_own_words() -> None:
    error = unreachable("http://x", requests.TooManyRedirects("Exceeded 30 redirects."))
    assert str(error).startswith("cannot reach http://x: Exceeded 30 redirects. Does")
