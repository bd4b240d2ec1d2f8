"""Ids and names. Ids are integers where the seeds show integers (001, workspaces to pipelines)."""

import re
from typing import NewType

from byop.errors import InvalidNameError

UserId = NewType("UserId", str)
WorkspaceId = NewType("WorkspaceId", int)
ModelId = NewType("ModelId", int)
ModelVersionId = NewType("ModelVersionId", int)
PipelineId = NewType("PipelineId", int)
PipelineVersionId = NewType("PipelineVersionId", int)
DeploymentId = NewType("DeploymentId", int)

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def require_dns_label(kind: str, name: str) -> str:
    """Return ``name``, a DNS label (seed 001, "must be DNS compliant").

    Raises:
        InvalidNameError: It has other characters than ``a-z0-9-``, or is longer than 63.
    """
    if not _LABEL.fullmatch(name):
        raise InvalidNameError(kind, name)
    return name
