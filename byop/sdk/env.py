"""The environment variables of a deployment: the one place where a worker reads them."""

import os
from collections.abc import Iterable, Mapping

from byop.sdk.exceptions import MissingVariableError


def require_env(name: str) -> str:
    """Return the value of the variable.

    Raises:
        MissingVariableError: It is not set, or empty.
    """
    value = os.environ.get(name, "")
    if not value:
        raise MissingVariableError(name)
    return value


def deployment_variables() -> Mapping[str, str]:
    """Return every variable of this process; in a worker these are exactly the deployment's."""
    return dict(os.environ)


def drop_locale_of_the_interpreter(given: Iterable[str]) -> None:
    """Remove LC_CTYPE unless it is among the given names: CPython sets it by itself (PEP 538)."""
    if "LC_CTYPE" not in given:
        os.unsetenv("LC_CTYPE")  # CPython sets it behind the back of os.environ
        os.environ.pop("LC_CTYPE", None)
