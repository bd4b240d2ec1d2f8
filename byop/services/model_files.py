"""Model files as workers read them: unpacked once per content, never changed."""

import shutil
from pathlib import Path

from byop.bundle.archive import unpack
from byop.bundle.archive_limits import DEFAULT_LIMITS, ArchiveLimits
from byop.bundle.checking import validate_apart
from byop.bundle.sealed_folders import UNFINISHED, new_sealed_folder, remove_folder
from byop.bundle.validation import BundleReport
from byop.domain.models import Framework, ModelVersion
from byop.errors import StorageUnavailableError
from byop.ports.blobs import BlobStore


class ModelFiles:
    """Finds the folder or file that a worker loads.

    ``root`` belongs to one process: opening it removes what an earlier one left half unpacked.
    """

    def __init__(
        self, *, blobs: BlobStore, root: Path, limits: ArchiveLimits = DEFAULT_LIMITS
    ) -> None:
        self._blobs = blobs
        self._root = root
        self._limits = limits
        for leftover in root.glob(f"{UNFINISHED}*"):
            remove_folder(leftover)

    def locate(self, version: ModelVersion) -> Path:
        """Return the unpacked project of a zip, or the file itself; unpacks at the first call.

        What is unpacked is what was uploaded: its checksum is compared, and it is read-only.

        Raises:
            NotFoundError: The blob is gone.
            StoredFileDamagedError: The blob is not what was uploaded.
            InvalidArchiveError: The zip must not be unpacked.
            StorageUnavailableError: The disk refuses, or is full; nothing is left.
        """
        is_zip = self._is_packed(version)
        folder = self._root / (version.sha if is_zip else f"{version.sha}-file")
        name = "" if is_zip else f"model{_suffix(version.conversion.framework)}"
        if not folder.is_dir():
            blob = self._blobs.verified_path(version.sha)
            try:
                if is_zip:
                    unpack(blob, folder, self._limits)
                else:
                    with new_sealed_folder(folder) as staging:
                        shutil.copyfile(blob, staging / name)
            except StorageUnavailableError:
                if not folder.is_dir():  # else another thread was faster
                    raise
        return folder / name

    def project(self, version: ModelVersion) -> BundleReport | None:
        """Return what the version's zip says of itself, None when it is a single file.

        Raises:
            NotFoundError: The blob is gone.
            StoredFileDamagedError: The blob is not what was uploaded.
            InvalidArchiveError: The zip must not be unpacked.
            InvalidBundleError: It is no model of its framework.
        """
        if not self._is_packed(version):
            return None
        blob = self._blobs.verified_path(version.sha)
        return validate_apart(blob, version.conversion.framework, self._limits)

    def _is_packed(self, version: ModelVersion) -> bool:
        return is_packed(version.conversion.framework, version.file_name)


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
