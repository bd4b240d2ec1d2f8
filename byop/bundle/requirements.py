"""Reading ``requirements.txt``."""

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from byop.errors import InvalidBundleError

REQUIREMENTS_NAME = "requirements.txt"

_COMMENT = re.compile(r"(^|\s)#.*$")
_CONTINUATION = re.compile(r"\\\r?\n")
_NESTED = re.compile(r"(?:-r|--requirement)[\s=]*(?P<path>\S.*)")
_INSTALL_OPTION = re.compile(r"(?P<name>-{1,2}[A-Za-z][\w-]*)")
_BYTE_ORDER_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@dataclass(frozen=True, slots=True)
class Requirements:
    """Requirement lines in their order, and what in the file was not obeyed."""

    lines: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def read_requirements(
    path: PurePosixPath, read: Callable[[PurePosixPath], bytes | None]
) -> Requirements:
    """Return the file's requirement lines, those of a ``-r`` where it is first named.

    ``read`` gives a project file's bytes, None when it is absent. Options for the installer are
    left out with a warning: where packages come from is the server's setting.

    Raises:
        InvalidBundleError: A file is no text, a ``-r`` file is absent or names itself, or a line
            installs from a path (``-e``).
    """
    lines: list[str] = []
    warnings: list[str] = []
    _collect(path, _each_once(read), lines, warnings, (path,))
    return Requirements(tuple(lines), tuple(warnings))


def _each_once(
    read: Callable[[PurePosixPath], bytes | None],
) -> Callable[[PurePosixPath], bytes | None]:
    """Give a file no content when it is read again, so that inclusions do not multiply."""
    known: set[PurePosixPath] = set()

    def read_once(path: PurePosixPath) -> bytes | None:
        if path in known:
            return b""
        known.add(path)
        return read(path)

    return read_once


def _collect(
    path: PurePosixPath,
    read: Callable[[PurePosixPath], bytes | None],
    lines: list[str],
    warnings: list[str],
    seen: tuple[PurePosixPath, ...],
) -> None:
    for line in _logical_lines(path, read):
        nested = _NESTED.fullmatch(line)
        option = _INSTALL_OPTION.match(line)
        if nested is not None:
            other = path.parent / nested["path"].strip()
            if other in seen:
                raise InvalidBundleError(f"{path}: {other} includes itself")
            _collect(other, read, lines, warnings, (*seen, other))
        elif option is None:
            lines.append(line)
        elif option["name"] in ("-e", "--editable"):
            raise InvalidBundleError(f"{path}: -e is not possible here: name a package")
        else:
            warnings.append(f"{path}: {option['name']} is left out: the server sets the index")


def _logical_lines(path: PurePosixPath, read: Callable[[PurePosixPath], bytes | None]) -> list[str]:
    content = read(path)
    if content is None:
        raise InvalidBundleError(f"{path} is named by a requirements file and is not in the zip")
    encoding = _BYTE_ORDER_MARKS.get(content[:2], "utf-8-sig")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        raise InvalidBundleError(f"{path} is no UTF-8 text") from None
    stripped = (
        _COMMENT.sub("", line).strip() for line in _CONTINUATION.sub(" ", text).splitlines()
    )
    return [line for line in stripped if line]
