"""Users, in Keycloak's spelling (seed 001, "Get Users")."""

from fastapi import APIRouter

from byop.domain.users import User
from byop.server.auth import Caller, Wired
from byop.wire.answers import UserItem, UserMap
from byop.wire.shapes import QueryUsers

router = APIRouter(prefix="/v1/api/users", tags=["users"])

_EVERYBODY = QueryUsers()


@router.post("/query", summary="List users, or look some up by id")
def query_users(caller: Caller, services: Wired, body: QueryUsers = _EVERYBODY) -> UserMap:
    """Return the users by id; ids that are unknown are left out."""
    users = services.identity.list_users(caller)
    wanted = None if not body.user_ids else set(body.user_ids)
    return UserMap(
        users={user.id: _item(user) for user in users if wanted is None or user.id in wanted}
    )


def _item(user: User) -> UserItem:
    return UserItem(
        id=user.id,
        email=user.email,
        username=user.username,
        enabled=user.is_enabled,
        createdTimestamp=int(user.created_at.timestamp() * 1000),
    )
