"""``byop keys``: the keys of a stopped server."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from byop.cli.problems import exit_on_error
from byop.settings import Settings, load_settings

Home = Annotated[Path | None, typer.Option(help="Data directory.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    keys = typer.Typer(help="List and exchange the keys of a stopped server.")
    keys.command("list")(list_keys)
    keys.command()(rotate)
    keys.command()(rotate_signing)
    app.add_typer(keys, name="keys")


@exit_on_error()
def list_keys(home: Home = None) -> None:
    """Show the ids of the secret keys, and how much each of them sealed."""
    from byop.store.key_rotation import list_keys as found  # noqa: PLC0415 - start of others

    for key in found(_settings(home)):
        use = "seals and opens" if key.seals else "opens only: byop keys rotate ends its use"
        print(f"{key.key_id}  {key.values} sealed values  {use}")


@exit_on_error()
def rotate(
    home: Home = None,
    new_key_file: Annotated[
        Path | None,
        typer.Option(help="File with the new key, 32 bytes in base64; made up when not given."),
    ] = None,
) -> None:
    """Seal every stored secret with a new key, or finish what an interrupted rotation began."""
    from byop.store.key_rotation import rotate_secret_key  # noqa: PLC0415 - as above

    new_key = "" if new_key_file is None else new_key_file.read_text(encoding="utf-8").strip()
    settings = _settings(home)
    done = rotate_secret_key(settings, new_key)
    print(f"everything is sealed with the key {done.key_id} now ({done.values} stored values)")
    if settings.secret_key:
        print("BYOP_SECRET_KEY_PREVIOUS is not needed any more")


@exit_on_error()
def rotate_signing(
    home: Home = None,
    at_once: Annotated[
        bool, typer.Option(help="Make every token invalid that was given out so far.")
    ] = False,
) -> None:
    """Sign tokens with a new key; those of the key before it stay valid until they expire."""
    from byop.store.key_rotation import rotate_signing as replace_key  # noqa: PLC0415 - as above

    replace_key(_settings(home), keep_previous=not at_once)
    print("tokens are signed with a new key from the next start on")


def _settings(home: Path | None) -> Settings:
    settings = load_settings()
    return settings if home is None else replace(settings, home=home.expanduser().absolute())
