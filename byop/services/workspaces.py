"""Workspaces: create, list, look up."""

from byop.domain.identifiers import UserId, require_dns_label
from byop.domain.users import Principal
from byop.domain.workspaces import Workspace
from byop.ports.clock import Clock
from byop.ports.metadata import MetadataStore
from byop.services.access import Access


class WorkspaceService:
    """Use cases on workspaces."""

    def __init__(self, *, metadata: MetadataStore, clock: Clock) -> None:
        self._metadata = metadata
        self._clock = clock
        self._access = Access(metadata)

    def create(self, principal: Principal, name: str) -> Workspace:
        """Store a workspace that the caller owns and return it.

        Raises:
            InvalidNameError: The name is no DNS label.
            AlreadyExistsError: The name is taken.
        """
        owner = self._access.user(principal)
        require_dns_label("workspace", name)
        return self._metadata.workspaces.add(name, owner=owner, created_at=self._clock.now())

    def list_visible(self, principal: Principal, user_id: str | None = None) -> list[Workspace]:
        """Return the caller's workspaces; an administrator sees all, or those of ``user_id``."""
        user = self._access.user(principal)
        if principal.is_admin:
            return self._metadata.workspaces.list_all(member=UserId(user_id) if user_id else None)
        if user_id is not None and user_id != user:
            return []
        return self._metadata.workspaces.list_all(member=user)

    def require(self, principal: Principal, workspace_id: int) -> Workspace:
        """Return a workspace of the caller.

        Raises:
            NotFoundError: There is none, or not for this caller.
        """
        return self._access.workspace(principal, workspace_id)
