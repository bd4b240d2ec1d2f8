"""The environment variables of a deployment, as a model reads them."""

import os

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
