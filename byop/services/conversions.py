"""Conversion: what happens between an upload and ``ready``.

The zip is validated, its environment is built, and a model that needs no credentials is loaded
once. Anything wrong ends in status ``error`` with the reason in ``error_summary``.
"""

import platform
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog

from byop.bundle.validation import BundleReport
from byop.domain.deployments import ModelResources
from byop.domain.models import Framework, ModelStatus, ModelVersion, Signature
from byop.errors import ByopError, EnvironmentBuildFailedError, ServerStoppingError
from byop.ports.clock import Clock
from byop.ports.engine import Engine, ModelLaunch
from byop.ports.environments import Environments, ModelEnvironment
from byop.ports.metadata import MetadataStore
from byop.services.model_files import ModelFiles

_PARALLEL = 2
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Converted:
    environment: ModelEnvironment
    signature: Signature


class Conversions:
    """Converts uploaded versions in the background, two at a time."""

    def __init__(
        self,
        *,
        metadata: MetadataStore,
        files: ModelFiles,
        environments: Environments,
        engine: Engine,
        clock: Clock,
        load_timeout_s: float,
    ) -> None:
        self._metadata = metadata
        self._files = files
        self._environments = environments
        self._engine = engine
        self._clock = clock
        self._load_timeout_s = load_timeout_s
        self._pool = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="conversion")

    def begin(self, version: ModelVersion) -> None:
        """Convert ``version`` soon; its status tells how it goes."""
        self._pool.submit(self._convert, version)

    def resume(self) -> None:
        """Take up the versions that an earlier process left unfinished."""
        for version in self._metadata.models.list_unfinished():
            self.begin(version)

    def close(self) -> None:
        """Stop after the conversions that run; the others are taken up at the next start."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _convert(self, version: ModelVersion) -> None:
        log = _log.bind(model=version.name, version=version.version)
        self._set(version, _attempting(version.conversion.framework))
        try:
            done = self._prepare(version)
        except ServerStoppingError:
            log.info("conversion broken off: the server stops")  # `resume` takes it up again
        except EnvironmentBuildFailedError as error:
            log.warning("environment build failed", why=error.facts["why"])
            self._fail(version, error.message)
        except ByopError as error:
            log.info("conversion failed", code=error.code)
            self._fail(version, error.message)
        except Exception:
            log.exception("conversion broke down")
            self._fail(version, "The conversion broke down; the server's log holds the reason.")
        else:
            self._metadata.models.set_status(
                version.id,
                ModelStatus.READY,
                updated_at=self._clock.now(),
                environment_key=done.environment.key,
                signature=done.signature,
            )
            log.info("model version ready", environment=done.environment.key)

    def _prepare(self, version: ModelVersion) -> _Converted:
        report = self._files.project(version)
        warnings = (*(report.warnings if report else ()), *_python_warnings(version))
        if warnings:  # told also when what follows fails
            attempting = _attempting(version.conversion.framework)
            self._set(version, attempting, warnings=warnings)
        lines = requirement_lines(version, report)
        environment = self._environments.ensure(version.conversion.framework, lines)
        path = self._files.locate(version)
        declared = _declared(version, report)
        if version.conversion.framework.is_native:
            launch = ModelLaunch(
                model_version_id=version.id,
                name=version.name,
                version=version.version,
                sha=version.sha,
                framework=version.conversion.framework,
                path=path,
                python=environment.python,
                signature=declared,
                resources=ModelResources(),
            )
            declared = self._engine.probe(launch, timeout_s=self._load_timeout_s)
        return _Converted(environment, declared)

    def _fail(self, version: ModelVersion, summary: str) -> None:
        self._set(version, ModelStatus.ERROR, error_summary=summary)

    def _set(
        self,
        version: ModelVersion,
        status: ModelStatus,
        *,
        error_summary: str | None = None,
        warnings: Sequence[str] | None = None,
    ) -> None:
        self._metadata.models.set_status(
            version.id,
            status,
            updated_at=self._clock.now(),
            error_summary=error_summary,
            warnings=warnings,
        )


def requirement_lines(version: ModelVersion, report: BundleReport | None) -> tuple[str, ...]:
    """Return the requirement lines of the zip, if it is one, and of the upload."""
    return (*(report.requirements if report else ()), *version.conversion.requirements)


def pending(framework: Framework) -> ModelStatus:
    """Return the status of a version of that framework before its conversion begins."""
    if framework is Framework.ONNX:
        return ModelStatus.PENDING_LOAD_NATIVE
    return ModelStatus.PENDING_LOAD_CONTAINER


def _attempting(framework: Framework) -> ModelStatus:
    if framework is Framework.ONNX:
        return ModelStatus.ATTEMPTING_LOAD_NATIVE
    return ModelStatus.ATTEMPTING_LOAD_CONTAINER


def _declared(version: ModelVersion, report: BundleReport | None) -> Signature:
    """Return the schemas of the upload, completed by the zip's model.toml."""
    given, manifest = version.signature, report.manifest if report else None
    return Signature(
        inputs=given.inputs or (manifest.inputs if manifest else None) or None,
        outputs=given.outputs or (manifest.outputs if manifest else None) or None,
    )


def _python_warnings(version: ModelVersion) -> tuple[str, ...]:
    asked, runs = version.conversion.python_version, platform.python_version()
    if not asked or runs.split(".")[:2] == asked.split(".")[:2]:
        return ()
    return (f"python_version {asked} was asked for; the model runs on {runs}",)
