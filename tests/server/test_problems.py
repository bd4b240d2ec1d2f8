import json

import pytest

from byop import errors
from byop.errors import ByopError
from byop.server.problems import MethodNotAllowedError, problem_answer, status_of
from byop.wire.errors import error_from_body

_ERRORS: list[tuple[ByopError, int, str]] = [
    (errors.InvalidInputError("x"), 400, "api"),
    (errors.InvalidNameError("model", "A_b"), 400, "api"),
    (errors.InvalidArchiveError(), 400, "api"),
    (errors.InvalidBundleError("x"), 400, "api"),
    (errors.SecretInBundleError([".env"]), 400, "api"),
    (errors.InvalidSchemaError("x"), 400, "api"),
    (errors.InvalidPayloadError("x"), 400, "api"),
    (errors.UnsupportedMediaTypeError("Content-Type", "x/y", "send JSON"), 415, "api"),
    (errors.TooLargeError("body", 3), 413, "api"),
    (errors.ColumnMissingError("a", ["b"]), 400, "api"),
    (errors.ColumnUnexpectedError("a", ["b"]), 400, "api"),
    (errors.ColumnTypeMismatchError("a", "int64", "string"), 400, "api"),
    (errors.ColumnLengthMismatchError("a", 2, 3), 400, "api"),
    (errors.InvalidDeploymentConfigError("cpus", -1, "x"), 400, "api"),
    (errors.InvalidPipelineError("x"), 400, "api"),
    (errors.ModelVersionNotReadyError("m", "v", "error"), 400, "api"),
    (errors.RequirementsConflictError("x"), 400, "api"),
    (errors.NotAuthenticatedError("x"), 401, "api"),
    (errors.NotAllowedError("x"), 403, "api"),
    (errors.NotFoundError("model", 3), 404, "api"),
    (errors.AlreadyExistsError("model", "m"), 409, "api"),
    (errors.OverloadedError("model 'm'", 128), 429, "api"),
    (errors.ModelInputRejectedError("m", "x"), 400, "sidekick"),
    (errors.ModelFailedError("m", "x"), 500, "sidekick"),
    (errors.ModelOutputInvalidError("m", "x"), 502, "sidekick"),
    (errors.ModelCrashedError("m", "x"), 502, "sidekick"),
    (errors.ModelTimeoutError("m", 1.5), 504, "sidekick"),
    (errors.ModelLoadFailedError("m", "x"), 502, "sidekick"),
    (errors.ModelNotRunningError("m", "x"), 502, "sidekick"),
    (errors.EnvironmentBuildFailedError("x", "log"), 500, "api"),
    (errors.ServerStoppingError(), 500, "api"),
    (errors.ProviderError("p", 500, retryable=True), 502, "api"),
    (errors.MissingApiKeyError("p", "KEY"), 502, "api"),
    (errors.StorageUnavailableError("x"), 507, "api"),
    (errors.StorageFullError("x"), 507, "api"),
    (errors.StoredFileDamagedError("0" * 64), 500, "api"),
    (errors.ApiError("x"), 500, "api"),
]


def _id(value: object) -> str:
    return type(value).__name__ if isinstance(value, ByopError) else str(value)


@pytest.mark.parametrize(("error", "status", "source"), _ERRORS, ids=_id)
def test_an_error_comes_back_as_itself(error: ByopError, status: int, source: str) -> None:
    answer = problem_answer(error, source="api")
    body = json.loads(bytes(answer.body))
    assert answer.status == body["code"] == status
    assert (body["status"], body["source"], body["msg"]) == ("Error", source, body["error"])
    rebuilt = error_from_body(body, answer.status)
    assert type(rebuilt) is type(error)
    assert (rebuilt.message, rebuilt.facts) == (error.message, error.facts)


def test_every_error_of_the_tree_is_in_this_table() -> None:
    told = {type(error) for error, _, _ in _ERRORS}
    pending, leaves = [ByopError], set()
    while pending:
        kind = pending.pop()
        pending.extend(kind.__subclasses__())
        if kind.__module__ == "byop.errors" and not kind.__subclasses__():
            leaves.add(kind)
    started_only = {
        errors.SettingsInvalidError,
        errors.HomeLockedError,
        errors.SecretKeyInvalidError,
    }
    assert leaves - told == started_only


def test_no_error_is_503() -> None:
    assert 503 not in {status_of(error) for error, _, _ in _ERRORS}


def test_an_overloaded_model_says_when_to_come_again() -> None:
    assert problem_answer(errors.OverloadedError("m", 1), source="engine").headers == (
        (b"retry-after", b"1"),
    )


def test_a_wrong_method_names_the_right_one() -> None:
    answer = problem_answer(MethodNotAllowedError("GET", "POST"), source="engine")
    assert (answer.status, answer.headers) == (405, ((b"allow", b"POST"),))


def test_a_message_with_a_lone_surrogate_can_be_sent() -> None:
    answer = problem_answer(errors.NotFoundError("model", "\ud800"), source="api")
    assert json.loads(bytes(answer.body))["code"] == 404
