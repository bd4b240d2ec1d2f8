"""How long each parser is fuzzed, and a line about each at the end."""

from collections.abc import Iterator

import pytest

from tests.fuzz.fuzzing import ParserProcess

_FIGURES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--fuzz-seconds``; it is there when pytest is called with this folder."""
    parser.addoption("--fuzz-seconds", type=float, default=0.0, help="per parser; 0: a few seconds")


@pytest.fixture
def fuzz_seconds(request: pytest.FixtureRequest) -> float:
    return float(request.config.getoption("--fuzz-seconds", default=0.0))


@pytest.fixture
def parser(request: pytest.FixtureRequest) -> Iterator[ParserProcess]:
    """Give the parser that the test is named for: ``test_<parser>_...``."""
    process = ParserProcess(request.node.name.split("_")[1])
    yield process
    process.stop()
    told = ", ".join(f"{n} {what}" for what, n in process.outcomes.most_common())
    figures = request.config.stash.setdefault(_FIGURES, [])
    figures.append(f"{process.name}: {process.outcomes.total()} inputs: {told}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures."""
    for line in terminalreporter.config.stash.get(_FIGURES, []):
        terminalreporter.write_line(f"fuzzed {line}")
