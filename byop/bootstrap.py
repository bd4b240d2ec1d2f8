"""The one place that picks implementations and wires them together."""

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog
from starlette.types import ASGIApp

from byop.bundle.archive_limits import ArchiveLimits
from byop.engine.environments import VirtualEnvironments
from byop.engine.isolation import Allowance, Isolation, open_isolation
from byop.engine.local import LocalEngine
from byop.engine.run_directories import open_run_directory, remove_run_directory
from byop.errors import SettingsInvalidError
from byop.ports.clock import Clock
from byop.ports.inference_log import LogQuery
from byop.server.app import create_app
from byop.server.services import Services
from byop.services.conversions import Conversions
from byop.services.deployments import DeploymentService
from byop.services.identity import (
    IdentityService,
    InitialCredentials,
    make_up_credentials,
)
from byop.services.inference import InferenceService, Memberships
from byop.services.inference_logs import InferenceLogService
from byop.services.launches import Launches
from byop.services.model_files import ModelFiles
from byop.services.models import ModelService
from byop.services.pipelines import PipelineService
from byop.services.routes import RouteTable
from byop.services.tokens import TokenService
from byop.services.workspaces import WorkspaceService
from byop.settings import Settings
from byop.store.blobs import FileBlobStore
from byop.store.home_lock import HomeLock
from byop.store.inference_log import SqliteInferenceLog
from byop.store.log_roller import RollPolicy
from byop.store.metadata import SqlMetadataStore
from byop.store.private_files import write_private
from byop.store.secrets import AesGcmSecretBox
from byop.store.signing_key import load_signing_keys

CREDENTIALS_FILE = "initial-credentials.json"

_log = structlog.get_logger(__name__)


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the time now, aware, UTC."""
        return datetime.now(UTC)

    def now_ms(self) -> int:
        """Return milliseconds since 1970 UTC."""
        return int(datetime.now(UTC).timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A wired server: its use cases, and the parts that must be opened and closed."""

    services: Services
    settings: Settings
    engine: LocalEngine
    isolation: Isolation
    log: SqliteInferenceLog
    metadata: SqlMetadataStore
    conversions: Conversions
    environments: VirtualEnvironments
    lock: HomeLock
    run_dir: Path

    async def open(self) -> None:
        """Start the engine on the running loop, then run again what ran at the last stop."""
        _tell(self.isolation)
        await asyncio.to_thread(self.environments.remove_left_overs)
        await self.engine.open()
        self.conversions.resume()
        await asyncio.to_thread(self.services.deployments.restore)

    def check_ready(self) -> None:
        """Raise what keeps the server from serving. Blocking: asks both databases."""
        self.metadata.users.find(self.settings.admin_email)
        self.log.read(LogQuery(topic="readiness", limit=1))

    async def break_off(self) -> None:
        """Fail the inferences that run, and end every worker."""
        await self.engine.close(drain_s=0)

    async def close(self) -> None:
        """Drain and end every worker, commit the log, release the data directory."""
        self.conversions.close()
        await asyncio.to_thread(self.environments.close)
        await self.engine.close(drain_s=self.settings.drain_s)
        await asyncio.to_thread(self.log.close)
        self.metadata.close()
        self.isolation.close()
        remove_run_directory(self.run_dir)
        self.lock.release()


def build_gateway(settings: Settings) -> Gateway:
    """Return a server over the data directory of ``settings``, wired but not opened.

    Raises:
        HomeLockedError: Another server owns the data directory.
        SettingsInvalidError: The isolation that is asked for does not work here.
        SecretKeyInvalidError: The key of stored secrets is wrong or missing.
        StorageUnavailableError: A database cannot be opened.
    """
    home = settings.home
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = HomeLock(home)
    lock.acquire()
    clock: Clock = SystemClock()
    secret_box = AesGcmSecretBox.load(home, settings.secret_key, settings.secret_key_previous)
    if len(secret_box.key_ids) > 1:
        _log.warning("an earlier secret key is in use: byop keys rotate ends that")
    metadata = SqlMetadataStore(
        settings.database_url or f"sqlite:///{home / 'metadata.sqlite3'}", secrets=secret_box
    )
    log = SqliteInferenceLog(
        home / "inference-log.sqlite3",
        durability=settings.log_durability,
        min_free_bytes=settings.min_free_bytes,
        rolling=_roll_policy(settings),
    )
    blobs = FileBlobStore(home / "blobs", min_free_bytes=settings.min_free_bytes)
    limits = _archive_limits(settings)
    files = ModelFiles(blobs=blobs, root=home / "models", limits=limits)
    isolation = _isolate(settings)
    environments = VirtualEnvironments(
        isolation=isolation,
        root=settings.environments_path,
        installer=settings.installer,
        index_url=settings.index_url,
        find_links=settings.find_links,
        timeout_s=settings.build_timeout_s,
    )
    run_dir = open_run_directory(home)
    engine = LocalEngine(
        isolation=isolation,
        run_dir=run_dir,
        load_timeout_s=settings.load_timeout_s,
        queue_limit=settings.queue_limit,
        log_dir=home / "worker-logs",
        max_answer_bytes=settings.max_answer_bytes,
    )
    identity = IdentityService(metadata=metadata, secret_box=secret_box, clock=clock)
    _set_up_once(identity, settings)
    conversions = Conversions(
        metadata=metadata,
        files=files,
        environments=environments,
        engine=engine,
        clock=clock,
        load_timeout_s=settings.load_timeout_s,
    )
    routes = RouteTable()
    services = Services(
        identity=identity,
        tokens=TokenService(
            signing_keys=load_signing_keys(home, secret_box),
            issuer="byop/auth/realms/master",
            lifetime_s=settings.token_lifetime_s,
            refresh_lifetime_s=settings.refresh_lifetime_s,
            find_user=metadata.users.get,
        ),
        workspaces=WorkspaceService(metadata=metadata, clock=clock),
        models=ModelService(
            metadata=metadata,
            blobs=blobs,
            conversions=conversions,
            clock=clock,
            max_upload_bytes=settings.max_upload_bytes,
            archive_limits=limits,
        ),
        pipelines=PipelineService(metadata=metadata, clock=clock),
        deployments=DeploymentService(
            metadata=metadata,
            engine=engine,
            launches=Launches(files=files, environments=environments),
            routes=routes,
            clock=clock,
        ),
        inference=InferenceService(
            routes=routes,
            memberships=Memberships(metadata.workspaces.is_member),
            engine=engine,
            log=log,
            clock=clock,
            deadline_s=settings.predict_timeout_s,
            max_pending_bytes=settings.max_pending_bytes,
        ),
        inference_logs=InferenceLogService(metadata=metadata, log=log),
    )
    return Gateway(
        services=services,
        settings=settings,
        engine=engine,
        isolation=isolation,
        log=log,
        metadata=metadata,
        conversions=conversions,
        environments=environments,
        lock=lock,
        run_dir=run_dir,
    )


def build_app(gateway: Gateway) -> ASGIApp:
    """Return the HTTP face of ``gateway``, which opens and closes it."""
    return create_app(
        gateway.services,
        settings=gateway.settings,
        open=gateway.open,
        close=gateway.close,
        check_ready=gateway.check_ready,
        isolation=gateway.isolation.level,
    )


def _archive_limits(settings: Settings) -> ArchiveLimits:
    return ArchiveLimits(
        total_bytes=settings.max_archive_bytes,
        entries=settings.max_archive_entries,
        ratio=settings.max_archive_ratio,
        depth=settings.max_archive_depth,
        path_bytes=settings.max_archive_path_bytes,
    )


def _isolate(settings: Settings) -> Isolation:
    return open_isolation(
        settings.isolation,
        allowance=Allowance.from_settings(settings),
        root=settings.home / "isolation",
        cgroups=settings.cgroups,
    )


def _tell(isolation: Isolation) -> None:
    held = ", ".join(sorted(isolation.controllers)) or "none"
    if isolation.level == "bubblewrap":
        _log.info("workers are isolated", isolation=isolation.level, cgroups=held)
    else:
        why = isolation.reason
        _log.warning("workers have no sandbox", isolation=isolation.level, cgroups=held, why=why)


def _roll_policy(settings: Settings) -> RollPolicy:
    return RollPolicy(
        rows=settings.log_roll_rows,
        size_bytes=settings.log_roll_bytes,
        age_s=settings.log_roll_age_s,
        retention_days=settings.log_retention_days,
        retention_bytes=settings.log_retention_bytes,
    )


def _set_up_once(identity: IdentityService, settings: Settings) -> None:
    """Make the first user and client. Their secrets are in the file before they are anywhere."""
    if identity.is_set_up():
        return
    path = settings.home / CREDENTIALS_FILE
    credentials = make_up_credentials(settings.admin_email, settings.admin_password)
    if path.exists():
        credentials = _read_credentials(path)
    else:
        write_private(path, json.dumps(_credentials_json(credentials), indent=2).encode())
    identity.set_up(credentials)
    _log.info("first start: credentials written", path=str(path), user=credentials.username)


def _credentials_json(credentials: InitialCredentials) -> dict[str, str]:
    """Return the keys of the documents' creds.json (seed 001, "Sample Variables List")."""
    return {
        "username": credentials.username,
        "password": credentials.password,
        "email": credentials.username,
        "confidentialClient": credentials.client_id,
        "confidentialPassword": credentials.client_secret,
    }


def _read_credentials(path: Path) -> InitialCredentials:
    try:
        kept = json.loads(path.read_text())
        return InitialCredentials(
            username=kept["username"],
            password=kept["password"],
            client_id=kept["confidentialClient"],
            client_secret=kept["confidentialPassword"],
        )
    except (ValueError, TypeError, KeyError):
        raise SettingsInvalidError(
            str(path), "does not hold the credentials of a first start: restore or delete it"
        ) from None
