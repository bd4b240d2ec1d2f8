"""What a client says when no answer comes."""

import requests

from byop.errors import ApiError


def unreachable(endpoint: str, error: requests.RequestException) -> ApiError:
    """Return the error for a call that got no answer: the reason in a few words, and what to do."""
    return ApiError(
        f"cannot reach {endpoint}: {_reason(error)}. Does the server run (byop serve), "
        "and is this its address (api_endpoint or WALLAROO_URL)?",
        url=endpoint,
    )


def _reason(error: requests.RequestException) -> str:
    """Return what the system said first, which requests and urllib3 wrap several times."""
    cause: BaseException | None = error
    told = str(error)
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            told = str(cause.strerror)
        cause = cause.__cause__ or cause.__context__
    return told.rstrip(".")
