"""The environment variables of a deployment: the one place where a worker reads them."""

import os
import time
from collections.abc import Mapping

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


def set_deployment_variables(given: Mapping[str, str], *, defaults: Mapping[str, str]) -> None:
    """Make these the variables of this process; ``defaults`` hold where none is given."""
    wanted = {**defaults, **given}
    os.unsetenv("LC_CTYPE")  # CPython sets it behind the back of os.environ (PEP 538)
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    os.environ.update(wanted)
    time.tzset()
