"""What the loader tells a builder about the unpacked model."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["CustomInferenceConfig"]


@dataclass(frozen=True, slots=True)
class CustomInferenceConfig:
    """Where the model lies. Names as in reference/wallaroo-sdk.md section 3.

    Attributes:
        model_path: Folder of the unpacked zip; artifacts are loaded from below it.
        framework: Always ``custom``.
        modules_to_include: Patterns of the entry modules, relative to ``model_path``.
    """

    model_path: Path
    framework: str = "custom"
    modules_to_include: frozenset[str] = frozenset({"*.py"})

    @property
    def matching_files(self) -> list[Path]:
        """The entry modules, sorted."""
        return sorted(
            path for pattern in self.modules_to_include for path in self.model_path.glob(pattern)
        )
