from byop.sdk.exceptions import *  # noqa: F403 - whatever its __all__ names
