import json

import pytest

from byop.errors import (
    ApiError,
    ByopError,
    ColumnTypeMismatchError,
    ModelTimeoutError,
    NotFoundError,
    SecretInBundleError,
)
from byop.wire.errors import error_from_body, problem_body

ERRORS: list[ByopError] = [
    ColumnTypeMismatchError("x", "int64", "string"),
    NotFoundError("workspace", 7),
    ModelTimeoutError("m", 1.5),
    SecretInBundleError([".env", "key.pem"]),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
def test_error_is_the_same_after_the_wire(error: ByopError) -> None:
    body = json.loads(json.dumps(problem_body(error, 400, "engine")))
    rebuilt = error_from_body(body, 400)
    assert type(rebuilt) is type(error)
    assert rebuilt.message == error.message
    assert rebuilt.facts == error.facts
    assert all(getattr(rebuilt, name) == value for name, value in error.facts.items())


def test_envelope_has_the_documented_keys() -> None:
    body = problem_body(NotFoundError("workspace", 7), 404, "api")
    assert body["code"] == 404
    assert body["status"] == "Error"
    assert body["error"] == body["msg"] == "workspace 7 was not found"
    assert body["source"] == "api"


@pytest.mark.parametrize("body", [None, [], "text", {}, {"error": 3}, {"type": 1, "facts": []}])
def test_foreign_body_is_an_api_error(body: object) -> None:
    assert type(error_from_body(body, 502)) is ApiError


def test_unknown_code_is_an_api_error_with_the_message() -> None:
    error = error_from_body({"error": "later", "type": "from_the_future", "facts": {}}, 500)
    assert type(error) is ApiError
    assert error.message == "later"


def test_codes_are_unique() -> None:
    def tree(kind: type[ByopError]) -> list[type[ByopError]]:
        return [kind, *(leaf for child in kind.__subclasses__() for leaf in tree(child))]

    codes = [kind.code for kind in tree(ByopError)]
    assert len(codes) == len(set(codes))
