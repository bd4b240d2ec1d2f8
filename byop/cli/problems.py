"""Errors as a command shows them: one line on stderr, exit code 1, no traceback."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from byop.errors import ByopError


@contextmanager
def exit_on_error() -> Iterator[None]:
    """End the command with the message of a ByopError or of a file that cannot be used.

    Works around a block and as a decorator.
    """
    try:
        yield
    except ByopError as error:
        _exit(error.message, error)
    except OSError as error:
        _exit(f"{error.filename}: {error.strerror}" if error.filename else str(error), error)


def _exit(message: str, cause: Exception) -> NoReturn:
    typer.secho(f"error: {message}", fg=typer.colors.RED, err=True)
    raise typer.Exit(1) from cause
