"""Authenticated calls to one server: the token goes along, an error comes back as its class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import orjson
import requests
from requests.adapters import HTTPAdapter
from typing_extensions import override

from byop.client.auth import Auth
from byop.client.unreachable import unreachable
from byop.errors import ApiError, ByopError
from byop.wire.errors import error_from_body

JSON = "application/json"
RECORDS = "application/json; format=pandas-records"
ARROW_FILE = "application/vnd.apache.arrow.file"

_UNAUTHORIZED = 401
_CONNECTIONS = 32
_BLOCK_BYTES = 256 * 1024


class Body(Protocol):
    """A request body that is read in pieces and can be read again."""

    def __len__(self) -> int:
        """Return the size in bytes."""

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""

    def rewind(self) -> None:
        """Begin again."""


@dataclass(frozen=True, slots=True)
class Call:
    """One POST. ``params`` keep their order and may repeat."""

    path: str
    body: bytes | Body
    content_type: str = JSON
    accept: str = JSON
    params: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


class Api:
    """Sends calls to one server. Safe from several threads."""

    def __init__(self, *, endpoint: str, auth: Auth, timeout_s: float) -> None:
        self.endpoint = endpoint
        self.timeout_s = timeout_s
        self._auth = auth
        self._session = requests.Session()
        adapter = _Adapter(pool_connections=_CONNECTIONS, pool_maxsize=_CONNECTIONS)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def ask(
        self, path: str, question: Mapping[str, object], *, timeout_s: float | None = None
    ) -> object:
        """Return the JSON answer to a JSON question, as :meth:`send` would."""
        answer = self.send(Call(path, orjson.dumps(question)), timeout_s=timeout_s)
        if not answer.content:
            return None
        try:
            return orjson.loads(answer.content)
        except ValueError:
            raise ApiError(
                f"{self.endpoint}{path} answered no JSON: is it a byop server?"
            ) from None

    def send(self, call: Call, *, timeout_s: float | None = None) -> requests.Response:
        """Return the answer, a good one. A refused token is renewed once.

        Raises:
            ByopError: The class that the server raised, or ApiError when no answer came.
        """
        token = self._auth.token()
        answer = self._post(call, token, timeout_s)
        if answer.status_code == _UNAUTHORIZED:
            answer.close()
            if not isinstance(call.body, bytes):
                call.body.rewind()
            answer = self._post(call, self._auth.renew(token), timeout_s)
        if not answer.ok:
            raise _error_of(answer)
        return answer

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._session.close()

    def _post(self, call: Call, token: str, timeout_s: float | None) -> requests.Response:
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        try:
            return self._session.post(
                self.endpoint + call.path,
                data=call.body,
                params=list(call.params),
                headers={"Content-Type": call.content_type, "Accept": call.accept, **call.headers},
                # As `auth`, not as a header: a ~/.netrc would replace the header.
                auth=_Bearer(token),
                timeout=limit_s,
            )
        except requests.Timeout as error:
            raise ApiError(
                f"{self.endpoint}{call.path} gave no answer within {limit_s:g} s",
                timeout_s=limit_s,
            ) from error
        except requests.RequestException as error:
            raise unreachable(self.endpoint, error) from error


class _Adapter(HTTPAdapter):
    """Sends file bodies in blocks of 256 KiB instead of 16 KiB."""

    @override
    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: object
    ) -> None:
        super().init_poolmanager(
            connections, maxsize, block, **{"blocksize": _BLOCK_BYTES, **pool_kwargs}
        )


class _Bearer(requests.auth.AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    @override
    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _error_of(answer: requests.Response) -> ByopError:
    try:
        body = orjson.loads(answer.content)
    except ValueError:
        body = None
    return error_from_body(body, answer.status_code)
