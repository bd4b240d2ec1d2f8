"""Server settings: every BYOP_* variable, read once at start.

The only place where the server reads its environment.
"""

import ctypes
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from typing_extensions import override

from byop.errors import SettingsInvalidError

Installer = Literal["uv", "pip"]
Durability = Literal["process", "power"]
IsolationMode = Literal["auto", "required", "process"]
CgroupsMode = Literal["auto", "off"]
Switch = Literal["on", "off"]

_MIB = 1024**2
_GIB = 1024**3

_INSTALLER_VARIABLES = frozenset(
    {"PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "XDG_CACHE_HOME"}
    | {"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}
    | {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}
    | {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}
)


_SECRETS = ("database_url", "secret_key", "secret_key_previous", "admin_password")
"""Settings that may come from a file: ``BYOP_SECRET_KEY_FILE`` names the one with the key."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator can set. A field ``f`` is the variable ``BYOP_F``; durations are seconds.

    Attributes:
        home: Data directory; everything the server writes is below it.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        public_url: What clients see in front of the server, when it is not ``http://host:port``.
        instance_name: Shown by the features route.
        database_url: SQLAlchemy URL of the metadata; empty means SQLite below ``home``.
        secret_key: 32 bytes in base64 that encrypt stored secrets; empty means a 0600 file
            below ``home``, made at first start.
        secret_key_previous: The key before that one: opens what it sealed, seals nothing.
        admin_email: The first user, made at first start.
        admin_password: Its password; empty means a random one in ``initial-credentials.json``.
        token_lifetime_s: Life of an access token.
        refresh_lifetime_s: Life of a refresh token.
        environments_dir: Where model environments are kept; empty means below ``home``.
        installer: What builds environments.
        index_url: Package index for environments; empty means the installer's default.
        find_links: Folders or URLs with wheels, separated by spaces.
        build_timeout_s: Longest environment build.
        load_timeout_s: Longest start of a worker, model loading included.
        predict_timeout_s: Deadline of an inference.
        queue_limit: Requests that may wait for one model of one deployment.
        isolation: ``auto`` takes the strongest that works, ``required`` does not start without
            bubblewrap, ``process`` leaves bubblewrap out.
        cgroups: ``auto`` holds workers' limits by cgroups where they can be written, ``off`` leaves
            them out.
        worker_network: Whether models may connect to anything.
        worker_processes: Processes and threads of one worker.
        worker_scratch_bytes: Size of a worker's scratch folder; without bubblewrap, of one file.
        worker_read_paths: What models can read beside the system, their environment and
            themselves, separated by colons.
        worker_write_paths: What models can write beside their scratch folders; all models share it.
        drain_s: How long a stop waits for running requests.
        max_upload_bytes: Largest model file.
        max_archive_bytes: All files of a zip together, unpacked.
        max_archive_entries: Files and folders in a zip.
        max_archive_ratio: How many times its packed size a file of a zip, and all of it, may have.
        max_archive_depth: Folders above a file in a zip, and the file itself.
        max_archive_path_bytes: Longest path in a zip.
        max_request_bytes: Largest inference body.
        max_json_bytes: Largest inference body in JSON, which takes ten times its size to read.
        max_decoded_bytes: What an Arrow body may take in memory once it is decompressed.
        max_columns: Columns of a table.
        allowed_hosts: Names that the Host header may say, separated by spaces; ``*`` is any.
            Empty means any, but this machine's own names when only this machine can connect.
        header_timeout_s: Longest wait for the whole header block of a request.
        body_idle_s: Longest wait for the next byte of a body.
        body_grace_s: How long a body may be slower than ``min_bytes_per_s`` on average.
        write_idle_s: How long a client may read its answer slower than that.
        min_bytes_per_s: What counts as slow, both ways.
        max_connections: Connections from which on requests are answered with 503.
        max_uploads: Uploads at once.
        max_answer_bytes: Largest answer of a model, as Arrow data; at most 2 GiB.
        max_pending_bytes: Bodies that the server holds at once, waiting or running, each with what
            it decodes to.
        log_durability: ``process`` keeps acknowledged rows when the process dies, ``power`` also
            when the machine loses power.
        log_roll_rows: Log rows of a pipeline from which on they are rolled into a segment.
        log_roll_bytes: The same in bytes.
        log_roll_age_s: The same by the age of its oldest row.
        log_retention_days: Age at which segments are removed; 0 keeps all.
        log_retention_bytes: Size of all segments above which the oldest are removed; 0 keeps all.
        min_free_bytes: Free disk below which nothing more is stored; 0 means no floor.
        log_level: DEBUG, INFO, WARNING or ERROR.
    """

    home: Path = Path.home() / ".byop"
    host: str = "127.0.0.1"
    port: int = 8080
    public_url: str = ""
    instance_name: str = "byop"
    database_url: str = ""
    secret_key: str = ""
    secret_key_previous: str = ""
    admin_email: str = "admin@byop.local"
    admin_password: str = ""
    token_lifetime_s: int = 3600
    refresh_lifetime_s: int = 86_400
    environments_dir: str = ""
    installer: Installer = "uv"
    index_url: str = ""
    find_links: str = ""
    build_timeout_s: int = 600
    load_timeout_s: int = 300
    predict_timeout_s: float = 120.0
    queue_limit: int = 128
    isolation: IsolationMode = "auto"
    cgroups: CgroupsMode = "auto"
    worker_network: Switch = "on"
    worker_processes: int = 1024
    worker_scratch_bytes: int = _GIB
    worker_read_paths: str = ""
    worker_write_paths: str = ""
    drain_s: float = 30.0
    max_upload_bytes: int = 10 * _GIB
    max_archive_bytes: int = 40 * _GIB
    max_archive_entries: int = 10_000
    max_archive_ratio: int = 200
    max_archive_depth: int = 20
    max_archive_path_bytes: int = 240
    max_request_bytes: int = _GIB
    max_json_bytes: int = 64 * _MIB
    max_decoded_bytes: int = _GIB
    max_columns: int = 10_000
    allowed_hosts: str = ""
    header_timeout_s: float = 20.0
    body_idle_s: float = 60.0
    body_grace_s: float = 30.0
    write_idle_s: float = 60.0
    min_bytes_per_s: int = 64 * 1024
    max_connections: int = 2048
    max_uploads: int = 64
    max_answer_bytes: int = _GIB
    max_pending_bytes: int = 2 * _GIB
    log_durability: Durability = "process"
    log_roll_rows: int = 100_000
    log_roll_bytes: int = 64 * _MIB
    log_roll_age_s: int = 86_400
    log_retention_days: int = 0
    log_retention_bytes: int = 0
    min_free_bytes: int = 256 * _MIB
    log_level: str = "INFO"

    @property
    def environments_path(self) -> Path:
        """Folder of the model environments."""
        if not self.environments_dir:
            return self.home / "environments"
        return Path(self.environments_dir).expanduser().absolute()

    @property
    def metadata_url(self) -> str:
        """Where the metadata is."""
        return self.database_url or f"sqlite:///{self.home / 'metadata.sqlite3'}"

    @override
    def __repr__(self) -> str:
        shown = ", ".join(
            f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.name not in _SECRETS
        )
        return f"Settings({shown})"


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings in ``environ`` (the process's by default).

    Raises:
        SettingsInvalidError: A value cannot be read, or a BYOP_ variable is unknown.
    """
    given = _with_files(dict(os.environ if environ is None else environ))
    values: dict[str, object] = {}
    known = {f"BYOP_{field.name.upper()}": field.name for field in fields(Settings)}
    for variable, text in given.items():
        if not variable.startswith("BYOP_"):
            continue
        if variable not in known:
            raise SettingsInvalidError(variable, "is no setting of byop (see docs/settings.md)")
        name = known[variable]
        reader = _READERS.get(name)
        values[name] = text if reader is None else reader(variable, text)
    return Settings(**values)  # type: ignore[arg-type]


def installer_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what an environment build may see of ``environ``: no secret of the server.

    That is the search path, home and temporary folders, proxies, certificate files and the
    installers' own variables (UV_*, PIP_*), which an operator sets for exactly this purpose.
    """
    given = dict(os.environ if environ is None else environ)
    return {
        name: value
        for name, value in given.items()
        if name in _INSTALLER_VARIABLES or name.startswith(("UV_", "PIP_"))
    }


def erase_secrets_from_environment() -> None:
    """Forget the secrets that this process was started with, once they are read.

    They are overwritten where ``/proc/<pid>/environ`` and ``ps e`` find them, and inherited by no
    process from here on.
    """
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_void_p
    for name in _SECRETS:
        variable = f"BYOP_{name.upper()}"
        text = os.environ.get(variable)
        address = getenv(variable.encode())
        if text and address:
            ctypes.memset(address, ord("*"), len(os.fsencode(text)))
        os.environ.pop(variable, None)


def _with_files(given: dict[str, str]) -> dict[str, str]:
    """Return ``given`` with the text of each secret's file in place of the file's name."""
    for name in _SECRETS:
        variable = f"BYOP_{name.upper()}"
        path = given.pop(f"{variable}_FILE", None)
        if path is None:
            continue
        if variable in given:
            raise SettingsInvalidError(f"{variable}_FILE", f"is set beside {variable}: keep one")
        given[variable] = _read_secret_file(f"{variable}_FILE", path)
    return given


def _read_secret_file(variable: str, path: str) -> str:
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "no text"
        raise SettingsInvalidError(variable, f"{path!r} cannot be read: {why}") from None
    if not text.strip():
        raise SettingsInvalidError(variable, f"{path!r} is empty")
    return text.strip("\r\n")


def _read_path(_variable: str, text: str) -> Path:
    """Return an absolute path: workers do not run where the server does."""
    return Path(text).expanduser().absolute()


def _read_places(variable: str, text: str) -> str:
    """Return the text once each of its paths is found to be there."""
    for place in filter(None, text.split(os.pathsep)):
        if not Path(place).is_absolute():
            raise SettingsInvalidError(variable, f"{place!r} is no absolute path")
        if not Path(place).exists():
            raise SettingsInvalidError(variable, f"{place!r} does not exist")
    return text


def _read_int(variable: str, text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise SettingsInvalidError(variable, f"{text!r} is no whole number") from None
    if number < 0:
        raise SettingsInvalidError(variable, f"{number} is negative")
    return number


def _read_count(variable: str, text: str) -> int:
    number = _read_int(variable, text)
    if not number:
        raise SettingsInvalidError(variable, "0 would let nothing through")
    return number


def _read_seconds(variable: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise SettingsInvalidError(variable, f"{text!r} is no number of seconds") from None
    if not seconds > 0:
        raise SettingsInvalidError(variable, f"{text} is not above zero")
    return seconds


def _one_of(*allowed: str) -> Callable[[str, str], str]:
    def read(variable: str, text: str) -> str:
        if text not in allowed:
            raise SettingsInvalidError(variable, f"{text!r} is none of {', '.join(allowed)}")
        return text

    return read


_READERS: dict[str, Callable[[str, str], object]] = {
    "home": _read_path,
    "port": _read_int,
    "token_lifetime_s": _read_int,
    "refresh_lifetime_s": _read_int,
    "installer": _one_of("uv", "pip"),
    "build_timeout_s": _read_int,
    "load_timeout_s": _read_int,
    "predict_timeout_s": _read_seconds,
    "queue_limit": _read_int,
    "isolation": _one_of("auto", "required", "process"),
    "cgroups": _one_of("auto", "off"),
    "worker_network": _one_of("on", "off"),
    "worker_processes": _read_int,
    "worker_scratch_bytes": _read_int,
    "worker_read_paths": _read_places,
    "worker_write_paths": _read_places,
    "drain_s": _read_seconds,
    "max_upload_bytes": _read_int,
    "max_archive_bytes": _read_int,
    "max_archive_entries": _read_int,
    "max_archive_ratio": _read_int,
    "max_archive_depth": _read_int,
    "max_archive_path_bytes": _read_int,
    "max_request_bytes": _read_int,
    "max_json_bytes": _read_int,
    "max_decoded_bytes": _read_int,
    "max_columns": _read_int,
    "header_timeout_s": _read_seconds,
    "body_idle_s": _read_seconds,
    "body_grace_s": _read_seconds,
    "write_idle_s": _read_seconds,
    "min_bytes_per_s": _read_count,
    "max_connections": _read_count,
    "max_uploads": _read_count,
    "max_answer_bytes": _read_int,
    "max_pending_bytes": _read_int,
    "log_durability": _one_of("process", "power"),
    "log_roll_rows": _read_int,
    "log_roll_bytes": _read_int,
    "log_roll_age_s": _read_int,
    "log_retention_days": _read_int,
    "log_retention_bytes": _read_int,
    "min_free_bytes": _read_int,
    "log_level": _one_of("DEBUG", "INFO", "WARNING", "ERROR"),
}
