"""Model files as workers read them: unpacked once per content, never changed."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from byop.bundle.archive import unpack
from byop.domain.models import Framework, ModelVersion
from byop.ports.blobs import BlobStore


class ModelFiles:
    """Finds the folder or file that a worker loads."""

    def __init__(self, *, blobs: BlobStore, root: Path) -> None:
        self._blobs = blobs
        self._root = root

    def locate(self, version: ModelVersion) -> Path:
        """Return the unpacked project of a zip, or the file itself; unpacks at the first call.

        Raises:
            NotFoundError: The blob is gone.
            InvalidArchiveError: The zip must not be unpacked.
        """
        blob = self._blobs.path(version.sha)
        if not is_packed(version.conversion.framework, version.file_name):
            return self._linked(blob, version)
        folder = self._root / version.sha
        if not folder.is_dir():
            self._publish(folder, lambda staging: unpack(blob, staging))
        return folder

    def archive(self, version: ModelVersion) -> Path | None:
        """Return the version's zip as uploaded, None when it is a single file."""
        if not is_packed(version.conversion.framework, version.file_name):
            return None
        return self._blobs.path(version.sha)

    def _linked(self, blob: Path, version: ModelVersion) -> Path:
        """Give a single file its suffix back: loaders look at it."""
        folder = self._root / f"{version.sha}-file"
        target = folder / f"model{_suffix(version.conversion.framework)}"
        if not target.is_file():
            self._publish(folder, lambda staging: shutil.copyfile(blob, staging / target.name))
        return target

    def _publish(self, folder: Path, fill: Callable[[Path], object]) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._root, prefix=".unpacking-") as scratch:
            staging = Path(scratch) / "content"
            staging.mkdir()
            fill(staging)
            try:
                staging.rename(folder)
            except OSError:
                if not folder.is_dir():
                    raise


def is_packed(framework: Framework, file_name: str) -> bool:
    """Return whether a model file of that framework and name is a zip."""
    match framework:
        case Framework.CUSTOM:
            return True
        case Framework.PYTHON:
            return not file_name.endswith(".py")
        case Framework.ONNX:
            return file_name.endswith(".zip")


def _suffix(framework: Framework) -> str:
    return ".onnx" if framework is Framework.ONNX else ".py"
