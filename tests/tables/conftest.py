"""Property tests of this folder: no deadlines, for other work runs on the same machine."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "tables", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tables")
