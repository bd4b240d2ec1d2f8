"""Workspaces."""

from datetime import datetime

from typing_extensions import override

from byop.client.answers import int_at, text_at, value_at
from byop.client.notebook import facts_table
from byop.domain.identifiers import UserId, WorkspaceId
from byop.domain.workspaces import Workspace as WorkspaceFacts
from byop.errors import ApiError


class Workspace:
    """A workspace as it was when it was asked for."""

    def __init__(self, facts: WorkspaceFacts) -> None:
        self._facts = facts

    def id(self) -> int:
        """Return the id."""
        return self._facts.id

    def name(self) -> str:
        """Return the name."""
        return self._facts.name

    def archived(self) -> bool:
        """Return whether it is archived."""
        return self._facts.is_archived

    def created_at(self) -> datetime:
        """Return when it was created, aware."""
        return self._facts.created_at

    def created_by(self) -> str:
        """Return the id of the user who created it."""
        return self._facts.created_by

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Workspace) and other.id() == self.id()

    @override
    def __hash__(self) -> int:
        return hash(self.id())

    @override
    def __repr__(self) -> str:
        return f"Workspace(id={self.id()}, name={self.name()!r})"

    def _repr_html_(self) -> str:
        facts = {
            "name": self.name(),
            "id": self.id(),
            "created at": self.created_at(),
            "created by": self.created_by(),
            "archived": self.archived(),
        }
        return facts_table("Workspace", facts)


def read_workspace(body: object) -> Workspace:
    """Return the workspace in an entry of the list route's answer."""
    created = text_at(body, "created_at")
    try:
        created_at = datetime.fromisoformat(created)
    except ValueError:
        raise ApiError(f"the server's answer has created_at {created!r}, no time") from None
    return Workspace(
        WorkspaceFacts(
            id=WorkspaceId(int_at(body, "id")),
            name=text_at(body, "name"),
            created_by=UserId(text_at(body, "created_by")),
            created_at=created_at,
            is_archived=bool(value_at(body, "archived")),
        )
    )
