"""Every deliberate error of byop.

The tree::

    ByopError
    |-- InvalidInputError                 the caller sent something wrong; nothing was changed
    |   |-- InvalidNameError
    |   |-- InvalidArchiveError           not a readable zip, or an unsafe one
    |   |-- InvalidBundleError            a model project that fails validation (``summary``)
    |   |-- SecretInBundleError           packing found a credential
    |   |-- InvalidSchemaError            an Arrow schema or a type string that cannot be read
    |   |-- InvalidPayloadError           a body that is not the format it claims to be
    |   |-- UnsupportedMediaTypeError     a body in a format or coding that is not read
    |   |-- TooLargeError                 a body, an upload or an answer over its limit
    |   |-- ColumnMissingError
    |   |-- ColumnUnexpectedError
    |   |-- ColumnTypeMismatchError
    |   |-- ColumnLengthMismatchError
    |   |-- InvalidDeploymentConfigError
    |   |-- InvalidPipelineError          a step that is unknown, or does not fit
    |   |-- ModelVersionNotReadyError     deploying a version whose conversion failed or goes on
    |   `-- RequirementsConflictError     requirements that cannot live beside the runtime
    |-- NotAuthenticatedError
    |-- NotAllowedError
    |-- NotFoundError
    |-- AlreadyExistsError
    |-- OverloadedError                   a bounded queue is full
    |-- ModelError                   a replica failed the request
    |   |-- ModelInputRejectedError       the author's code refused its input
    |   |-- ModelFailedError              the author's code raised
    |   |-- ModelOutputInvalidError       the author's code returned something that cannot be used
    |   |-- ModelCrashedError             the worker process died
    |   |-- ModelTimeoutError             no answer within the deadline
    |   |-- ModelLoadFailedError          the worker could not load the model
    |   `-- ModelNotRunningError          no replica is up
    |-- EnvironmentBuildFailedError
    |-- ServerStoppingError               the work was broken off and can be done again later
    |-- ProviderError                an LLM hosted elsewhere failed
    |   `-- MissingApiKeyError
    |-- StorageUnavailableError      the disk or the database refuses
    |   |-- StorageFullError              no space left, or too little
    |   `-- StoredFileDamagedError        a model file is not what was uploaded any more
    |-- SettingsInvalidError
    |-- HomeLockedError                   another server owns the data directory
    |-- SecretKeyInvalidError             the master key is missing or wrong
    `-- ApiError                     the server answered something the client cannot map

A constructor takes facts, writes the message and keeps the facts as attributes. ``code`` is
stable and goes over the wire; HTTP numbers live in ``byop.server.problems`` alone. Messages never
hold a secret's value: they name the variable. Standard library only: the worker imports this.
"""

import errno
from collections.abc import Iterable, Sequence
from typing import ClassVar


class ByopError(Exception):
    """Root of the tree. ``facts`` maps attribute names to JSON-ready values."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.facts: dict[str, object] = facts
        for name, value in facts.items():
            setattr(self, name, value)

    @staticmethod
    def rebuild(code: str, message: str, facts: dict[str, object]) -> "ByopError":
        """Return the error that ``code`` names, as it was before it crossed a wire."""
        kind = _by_code().get(code, ApiError)
        error = kind.__new__(kind)
        ByopError.__init__(error, message, **facts)
        return error


def _by_code() -> dict[str, type[ByopError]]:
    found: dict[str, type[ByopError]] = {}
    pending: list[type[ByopError]] = [ByopError]
    while pending:
        kind = pending.pop()
        found[kind.code] = kind
        pending.extend(kind.__subclasses__())
    return found


class InvalidInputError(ByopError):
    """The caller sent something wrong; nothing was changed."""

    code = "invalid_input"


class InvalidNameError(InvalidInputError):
    """A name that is no DNS label."""

    code = "invalid_name"

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(
            f"{kind} name {name[:80]!r} is not allowed: use 1 to 63 lower-case letters, digits "
            "and dashes, starting and ending with a letter or a digit",
            kind=kind,
            name=name,
        )


class InvalidArchiveError(InvalidInputError):
    """A file that is no zip, or must not be unpacked. The message is the documented one."""

    code = "invalid_archive"

    def __init__(self, why: str | None = None) -> None:
        message = "Bad request: Not a valid ZIP file."
        super().__init__(message if why is None else f"{message} {why}", why=why)


class InvalidBundleError(InvalidInputError):
    """A model project that fails validation; ``summary`` is the documented error_summary text."""

    code = "invalid_bundle"

    def __init__(self, summary: str) -> None:
        super().__init__(summary, summary=summary)


class SecretInBundleError(InvalidInputError):
    """Packing found a credential in the project folder."""

    code = "secret_in_bundle"

    def __init__(self, paths: Sequence[str]) -> None:
        super().__init__(
            f"refusing to pack what looks like a secret: {', '.join(paths)}. Give credentials at "
            "deployment (sidekick_env), or pass --allow-secrets if these are none",
            paths=list(paths),
        )


class InvalidSchemaError(InvalidInputError):
    """An Arrow schema or a type string that cannot be read."""

    code = "invalid_schema"


class InvalidPayloadError(InvalidInputError):
    """A body that is not the format that it claims to be."""

    code = "invalid_payload"


class UnsupportedMediaTypeError(InvalidInputError):
    """A body whose Content-Type or Content-Encoding is not read here."""

    code = "unsupported_media_type"

    def __init__(self, header: str, value: str, instead: str) -> None:
        super().__init__(
            f"{header} {value[:100]!r} is not supported: {instead}",
            header=header,
            value=value[:100],
        )


class TooLargeError(InvalidInputError):
    """A body, an upload or an answer over its limit."""

    code = "too_large"

    def __init__(self, what: str, limit_bytes: int) -> None:
        super().__init__(
            f"{what} is larger than {limit_bytes} bytes", what=what, limit_bytes=limit_bytes
        )


class ColumnMissingError(InvalidInputError):
    """A column of the declared schema that is not there."""

    code = "column_missing"

    def __init__(self, column: str, got: Iterable[str]) -> None:
        names = sorted(got)
        super().__init__(
            f"column {column!r} is missing: got {', '.join(map(repr, names)) or 'no columns'}",
            column=column,
            got=names,
        )


class ColumnUnexpectedError(InvalidInputError):
    """A column that the declared schema does not have."""

    code = "column_unexpected"

    def __init__(self, column: str, expected: Iterable[str]) -> None:
        names = list(expected)
        super().__init__(
            f"column {column!r} is not in the schema: expected "
            f"{', '.join(map(repr, names)) or 'no columns'}",
            column=column,
            expected=names,
        )


class ColumnTypeMismatchError(InvalidInputError):
    """A column whose values do not fit the declared type."""

    code = "column_type_mismatch"

    def __init__(self, column: str, expected: str, got: str) -> None:
        super().__init__(
            f"column {column!r} has the wrong type: expected {expected}, got {got}",
            column=column,
            expected=expected,
            got=got,
        )


class ColumnLengthMismatchError(InvalidInputError):
    """A column, or a list inside it, of the wrong length."""

    code = "column_length_mismatch"

    def __init__(self, column: str, expected: int, got: int) -> None:
        super().__init__(
            f"column {column!r} has the wrong length: expected {expected}, got {got}",
            column=column,
            expected=expected,
            got=got,
        )


class InvalidDeploymentConfigError(InvalidInputError):
    """A deployment configuration with a value that cannot be read."""

    code = "invalid_deployment_config"

    def __init__(self, field: str, value: object, why: str) -> None:
        super().__init__(f"deployment configuration {field}: {why}", field=field, value=str(value))


class InvalidPipelineError(InvalidInputError):
    """A pipeline definition with a step that is unknown or does not fit."""

    code = "invalid_pipeline"


class ModelVersionNotReadyError(InvalidInputError):
    """A deployment names a model version that cannot run (yet)."""

    code = "model_version_not_ready"

    def __init__(self, model: str, version: str, status: str) -> None:
        super().__init__(
            f"model {model!r} version {version} is {status}: only ready versions can be deployed",
            model=model,
            version=version,
            status=status,
        )


class RequirementsConflictError(InvalidInputError):
    """Requirements that cannot be installed beside the worker runtime."""

    code = "requirements_conflict"


class NotAuthenticatedError(ByopError):
    """No token, or one that is expired, forged or malformed."""

    code = "not_authenticated"


class NotAllowedError(ByopError):
    """A valid token that does not carry the right."""

    code = "not_allowed"


class NotFoundError(ByopError):
    """What was asked for does not exist, or not for this caller."""

    code = "not_found"

    def __init__(self, kind: str, reference: object) -> None:
        super().__init__(f"{kind} {reference!r} was not found", kind=kind, reference=str(reference))


class AlreadyExistsError(ByopError):
    """A name that must be unique is taken."""

    code = "already_exists"

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name!r} already exists", kind=kind, name=name)


class OverloadedError(ByopError):
    """A bounded queue, or the memory for requests, is full; the request was not started."""

    code = "overloaded"

    def __init__(self, what: str, limit: int, unit: str = "requests waiting") -> None:
        super().__init__(f"{what} has {limit} {unit}; try again later", what=what, limit=limit)


class ModelError(ByopError):
    """A replica failed the request. ``model`` is the model's name."""

    code = "model_error"

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(f"model {model!r}: {reason}", model=model, reason=reason)


class ModelInputRejectedError(ModelError):
    """The author's code refused its input."""

    code = "model_input_rejected"


class ModelFailedError(ModelError):
    """The author's code raised."""

    code = "model_failed"


class ModelOutputInvalidError(ModelError):
    """The author's code returned something that does not fit the output schema."""

    code = "model_output_invalid"


class ModelCrashedError(ModelError):
    """The worker process died with the request in its hands."""

    code = "model_crashed"


class ModelTimeoutError(ModelError):
    """The replica did not answer within the deadline."""

    code = "model_timeout"

    def __init__(self, model: str, deadline_s: float) -> None:
        super().__init__(model, f"no answer within {deadline_s:g} s")
        self.deadline_s = deadline_s
        self.facts["deadline_s"] = deadline_s


class ModelLoadFailedError(ModelError):
    """The worker could not import the model or create its Inference."""

    code = "model_load_failed"


class ModelNotRunningError(ModelError):
    """No replica of the model is up."""

    code = "model_not_running"


class EnvironmentBuildFailedError(ByopError):
    """An environment could not be built; ``log_tail`` is the end of the installer's output."""

    code = "environment_build_failed"

    def __init__(self, why: str, log_tail: str) -> None:
        super().__init__(f"{why}\n{log_tail}".rstrip(), why=why, log_tail=log_tail)


class ServerStoppingError(ByopError):
    """The work was broken off because the server stops; it is done again at the next start."""

    code = "server_stopping"

    def __init__(self) -> None:
        super().__init__("the server is stopping")


class ProviderError(ByopError):
    """An LLM hosted elsewhere failed; the original is the ``__cause__``."""

    code = "provider_error"

    def __init__(self, provider: str, status: int | None, *, retryable: bool) -> None:
        told = "gave no answer" if status is None else f"answered {status}"
        super().__init__(
            f"provider {provider!r} {told}", provider=provider, status=status, retryable=retryable
        )


class MissingApiKeyError(ProviderError):
    """A provider's credential is not in the deployment's environment."""

    code = "missing_api_key"

    def __init__(self, provider: str, variable: str) -> None:
        ByopError.__init__(
            self,
            f"provider {provider!r} needs {variable}: give it in sidekick_env",
            provider=provider,
            variable=variable,
        )


class StorageUnavailableError(ByopError):
    """The disk or the database refuses; nothing was acknowledged."""

    code = "storage_unavailable"


class StorageFullError(StorageUnavailableError):
    """No space is left, or less than the floor; nothing was acknowledged. Reading goes on."""

    code = "storage_full"


class StoredFileDamagedError(StorageUnavailableError):
    """A stored model file is no longer what was uploaded; ``sha`` is what it should be."""

    code = "stored_file_damaged"

    def __init__(self, sha: str) -> None:
        super().__init__(
            f"the stored file {sha} is damaged: upload it again, which repairs it", sha=sha
        )


def storage_error(what: str, error: OSError) -> StorageUnavailableError:
    """Return the error that says that the disk refused ``what``, and whether it is full."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return StorageFullError(
            f"{what}: no space is left ({error.strerror}); nothing was kept, free some space or"
            " raise the limit"
        )
    return StorageUnavailableError(f"{what}: {error.strerror or error}")


class SettingsInvalidError(ByopError):
    """A BYOP_* variable that cannot be read."""

    code = "settings_invalid"

    def __init__(self, variable: str, why: str) -> None:
        super().__init__(f"{variable}: {why}", variable=variable)


class HomeLockedError(ByopError):
    """Another server owns the data directory."""

    code = "home_locked"

    def __init__(self, home: str) -> None:
        super().__init__(
            f"{home} is in use by another byop server: stop it, or set BYOP_HOME to another folder",
            home=home,
        )


class SecretKeyInvalidError(ByopError):
    """The key that decrypts stored secrets is missing, malformed or another one."""

    code = "secret_key_invalid"


class ApiError(ByopError):
    """The server answered something that no other class describes."""

    code = "api_error"
