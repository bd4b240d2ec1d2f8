"""``byop exec``: run a script that was written against ``wallaroo`` and ``mac``."""

import sys
import traceback
from pathlib import Path
from types import CodeType, ModuleType
from typing import Annotated

import typer

_INTERRUPTED = 130


def register(app: typer.Typer) -> None:
    """Add the command. Everything behind the script is the script's."""
    app.command(
        "exec",
        context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True},
    )(run_script)


def run_script(
    script: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="Python file.")
    ],
    arguments: Annotated[
        list[str] | None, typer.Argument(help="Arguments of the script (its sys.argv).")
    ] = None,
) -> None:
    """Run SCRIPT with `import wallaroo` and `import mac` served by byop.

    The script runs as `__main__` with its folder on the import path. Its exit code is passed on;
    an error shows the script's own traceback.
    """
    from byop.client import alias  # noqa: PLC0415 - the other commands start without it
    from byop.sdk import mac_alias  # noqa: PLC0415 - as above

    alias.install()
    mac_alias.install()
    sys.argv = [str(script), *(arguments or [])]
    sys.path.insert(0, str(script.resolve().parent))
    raise typer.Exit(_run_as_main(script))


def _run_as_main(script: Path) -> int:
    """Run the file and return the exit code; SystemExit passes through unchanged."""
    module = ModuleType("__main__")
    module.__file__ = str(script)
    sys.modules["__main__"] = module
    try:
        # The user asked to run exactly this file.
        exec(_compiled(script), module.__dict__)  # noqa: S102 - as above
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:  # noqa: BLE001 - as the interpreter does at its own edge
        _print_from(script, error)
        return 1
    return 0


def _compiled(script: Path) -> CodeType:
    return compile(script.read_bytes(), str(script), "exec", dont_inherit=True)


def _print_from(script: Path, error: Exception) -> None:
    """Print the traceback as the interpreter would, from the script's first frame on."""
    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename != str(script):
        frame = frame.tb_next
    traceback.print_exception(type(error), error, frame)
