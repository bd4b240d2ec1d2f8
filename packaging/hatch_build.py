"""Ship provider and listener projects as data in the wheel, never in an editable install."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ProjectsHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds ``providers/`` and ``listeners/`` below ``byop/_projects/``."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Map both folders, unless the build is editable: copies would go stale there."""
        if version == "editable":
            return
        for name in ("providers", "listeners"):
            build_data["force_include"][f"{self.root}/{name}"] = f"byop/_projects/{name}"
