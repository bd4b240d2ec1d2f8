"""What this server can do (seed 001, "List Enablement Features")."""

from fastapi import APIRouter

from byop.server.auth import Caller, Configured
from byop.wire.answers import FeatureList
from byop.wire.shapes import Empty

router = APIRouter(prefix="/v1/api/features", tags=["server"])


@router.post("/list", summary="List enabled features")
async def list_features(
    _caller: Caller, settings: Configured, _body: Empty | None = None
) -> FeatureList:
    """Return the name of the instance and what it has. ``plateau`` is the inference log."""
    return FeatureList(
        features={"plateau": "true"}, name=settings.instance_name, is_auth_enabled=True
    )
