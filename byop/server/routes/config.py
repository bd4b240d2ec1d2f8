"""What a client asks before it has a token (reference/wallaroo-sdk.md 1.1)."""

from fastapi import APIRouter

import byop
from byop.wire.answers import ServerConfig

router = APIRouter(prefix="/v1/api", tags=["server"])


@router.get("/config", summary="Defaults for clients, without a token")
async def get_config() -> ServerConfig:
    """Return what the SDK asks when it is constructed."""
    return ServerConfig(default_arch="x86", version=byop.__version__)
