"""What a person sees while the client waits. Nothing is written unless someone watches.

Someone watches a terminal on standard error, or a notebook.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


def is_watched(console: Console) -> bool:
    """Return whether progress has a reader. A forced colour setting is not one."""
    return console.is_jupyter or sys.stderr.isatty()


@contextmanager
def show_upload(name: str, size_bytes: int) -> Iterator[Callable[[int], None]]:
    """Show a bar for ``size_bytes``; call what is yielded with the bytes sent so far."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not is_watched(console)) as progress:
        task = progress.add_task(f"uploading {name}", total=size_bytes)
        yield lambda sent: progress.update(task, completed=sent)


@contextmanager
def show_status(text: str) -> Iterator[Callable[[str], None]]:
    """Show a spinner with ``text``; call what is yielded with what to show instead."""
    console = Console(stderr=True)
    if not is_watched(console):
        yield lambda _text: None
        return
    with console.status(escape(text)) as status:
        yield lambda text: status.update(escape(text))


def tell(text: str) -> None:
    """Write a line to standard error, watched or not."""
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)
