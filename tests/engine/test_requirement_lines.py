import pytest

from byop.engine.requirement_lines import clean_requirements
from byop.errors import InvalidBundleError


def test_lines_are_cleaned_sorted_and_distinct() -> None:
    given = ["requests>=2  # http", "", "# a comment", "numpy", "requests>=2", "a-b.c_d[x,y]~=1.0"]
    assert clean_requirements(given) == ("a-b.c_d[x,y]~=1.0", "numpy", "requests>=2")


@pytest.mark.parametrize(
    "line",
    [
        "openai==1.35",
        "pandas (>=2)",
        "x; python_version < '3.12'",
        "x >= 1 , < 2",
        "x==1.0 --hash=sha256:00ff",
        "x @ https://example.org/x-1.0-py3-none-any.whl",
        "x[extra] @ git+https://example.org/x.git@v1 ; python_version > '3'",
    ],
)
def test_package_by_name_is_allowed(line: str) -> None:
    assert clean_requirements([line]) == (line,)


@pytest.mark.parametrize(
    "line",
    [
        "-r other.txt",
        "--requirement=/etc/passwd",
        "-e .",
        "--index-url https://example.org/simple",
        "--extra-index-url=https://example.org/simple",
        "-i https://example.org",
        "--find-links /srv",
        "--no-binary :all:",
        "x --index-url=https://example.org",
        "x --global-option=--evil",
        "./x",
        "../x",
        "/srv/x.whl",
        "x.whl",
        "x-1.0.tar.gz",
        "wheels/x.whl",
        ".",
        "~/x",
        "C:\\x",
        "file:///srv/x.whl",
        "https://example.org/x.whl",
        "x @ file:///srv/x.whl",
        "x @ /srv/x.whl",
        "x @ http://example.org/x.whl",
        "x @ git+ssh://git@example.org/x.git",
        "x @ git+file:///srv/x",
        "x @ https://example.org/${UV_INDEX_PASSWORD}",
        "x==1\n-r y",
        "x y",
        "x/../y",
        "$(whoami)",
    ],
)
def test_everything_else_is_refused_and_named(line: str) -> None:
    with pytest.raises(InvalidBundleError, match="is not allowed") as caught:
        clean_requirements([line])
    assert repr(line.partition("\n")[0])[:-1] in caught.value.message
