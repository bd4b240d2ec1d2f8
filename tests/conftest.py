"""What every test may ask for: under which isolation workers run."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--isolation``, the value of BYOP_ISOLATION for every engine and server under test."""
    parser.addoption(
        "--isolation",
        choices=("auto", "process"),
        default="auto",
        help="auto: bubblewrap where it works; process: always the fallback",
    )


@pytest.fixture(scope="session")
def isolation(request: pytest.FixtureRequest) -> str:
    """Return the asked isolation."""
    return str(request.config.getoption("--isolation"))
