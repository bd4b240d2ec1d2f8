from pathlib import PurePosixPath

import pytest

from byop.bundle.requirements import Requirements, read_requirements
from byop.errors import InvalidBundleError

ROOT = PurePosixPath("requirements.txt")


def read(files: dict[str, str | bytes], path: str = "requirements.txt") -> Requirements:
    content = {
        PurePosixPath(name): text.encode() if isinstance(text, str) else text
        for name, text in files.items()
    }
    return read_requirements(PurePosixPath(path), content.get)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ()),
        ("# only a comment\n\n", ()),
        ("numpy>=1.26  # arrays\nopenai==1.35.0\r\n", ("numpy>=1.26", "openai==1.35.0")),
        ("a \\\n  >=1\n", ("a    >=1",)),
        ("b @ https://host/b.whl#sha256=00\n", ("b @ https://host/b.whl#sha256=00",)),
        ('c[extra]; python_version >= "3.11"', ('c[extra]; python_version >= "3.11"',)),
        ("\ufeffd==1\n", ("d==1",)),
        ("e==1\n".encode("utf-16"), ("e==1",)),
    ],
)
def test_lines_are_read_without_comments(text: str | bytes, lines: tuple[str, ...]) -> None:
    assert read({"requirements.txt": text}) == Requirements(lines)


@pytest.mark.parametrize("line", ["-r more.txt", "-rmore.txt", "--requirement=more.txt"])
def test_nested_file_stands_in_its_place(line: str) -> None:
    files: dict[str, str | bytes] = {
        "config/requirements.txt": f"a\n{line}\nz\n",
        "config/more.txt": "m\n",
    }
    assert read(files, "config/requirements.txt").lines == ("a", "m", "z")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"requirements.txt": "-r absent.txt"}, r"absent\.txt .* is not in the zip"),
        ({"requirements.txt": "-r requirements.txt"}, "includes itself"),
        ({"requirements.txt": "-e ./package"}, "-e is not possible"),
        ({"requirements.txt": b"\xff\x00\xff"}, "is no UTF-8 text"),
    ],
)
def test_file_that_cannot_be_used_is_refused(files: dict[str, str | bytes], message: str) -> None:
    with pytest.raises(InvalidBundleError, match=message):
        read(files)


def test_files_that_include_each_other_many_times_are_read_once() -> None:
    files: dict[str, str | bytes] = {
        f"r{level}.txt": f"-r r{level + 1}.txt\n" * 60 for level in range(20)
    }
    found = read(files | {"requirements.txt": "-r r0.txt\n" * 60, "r20.txt": "scipy\n"})
    assert found.lines == ("scipy",)


def test_index_options_are_left_out_without_showing_their_value() -> None:
    found = read({"requirements.txt": "--extra-index-url https://user:pw@host/simple\na\n"})
    assert found.lines == ("a",)
    assert found.warnings == (
        "requirements.txt: --extra-index-url is left out: the server sets the index",
    )
