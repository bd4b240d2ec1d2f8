"""Inference: the hot path. Nothing here blocks the event loop, but ``route`` where it says so."""

import time
from collections.abc import Callable
from functools import partial

import pyarrow as pa

from byop.domain.identifiers import UserId, WorkspaceId
from byop.domain.inferences import InferenceMetadata, InferenceRecord, no_anomalies
from byop.domain.users import Principal
from byop.errors import NotFoundError
from byop.ports.clock import Clock
from byop.ports.engine import Engine
from byop.ports.inference_log import InferenceLog
from byop.services.admission import Admission, RequestMemory
from byop.services.routes import InferenceRoute, RouteTable
from byop.steps.walk import walk_steps

_MEMBERSHIP_TTL_S = 5.0


class Memberships:
    """Remembers who belongs to which workspace; a change is seen within five seconds."""

    def __init__(
        self,
        is_member: Callable[[WorkspaceId, UserId], bool],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._is_member = is_member
        self._clock_s = clock_s
        self._known: dict[tuple[WorkspaceId, UserId], tuple[float, bool]] = {}

    def __contains__(self, pair: tuple[WorkspaceId, UserId]) -> bool:
        known = self._known.get(pair)
        now = self._clock_s()
        if known is None or now >= known[0]:
            known = (now + _MEMBERSHIP_TTL_S, self._is_member(*pair))
            self._known[pair] = known
        return known[1]

    def remembers(self, pair: tuple[WorkspaceId, UserId]) -> bool:
        """Return whether ``in`` answers without asking."""
        known = self._known.get(pair)
        return known is not None and self._clock_s() < known[0]


class InferenceService:
    """Finds routes and runs requests over them."""

    def __init__(
        self,
        *,
        routes: RouteTable,
        memberships: Memberships,
        engine: Engine,
        log: InferenceLog,
        clock: Clock,
        deadline_s: float,
        max_pending_bytes: int,
    ) -> None:
        self._routes = routes
        self._memberships = memberships
        self._engine = engine
        self._log = log
        self._clock = clock
        self._deadline_s = deadline_s
        self._memory = RequestMemory(max_pending_bytes)

    def knows(self, principal: Principal, address: str) -> bool:
        """Return whether ``route`` answers from memory; else it asks the database and blocks."""
        route = self._routes.get(address)
        if route is None or principal.is_admin or principal.user_id is None:
            return True
        return self._memberships.remembers((route.workspace_id, principal.user_id))

    def route(self, principal: Principal, address: str, pipeline: str) -> InferenceRoute:
        """Return what runs at ``address`` for this caller. Blocking, unless it ``knows``.

        Raises:
            NotFoundError: Nothing runs there, or not for this caller.
        """
        route = self._routes.get(address)
        if (
            route is None
            or route.pipeline_name != pipeline
            or not self._may_infer(principal, route.workspace_id)
        ):
            raise NotFoundError("deployed pipeline", f"{address}/{pipeline}")
        return route

    def admit(self, route: InferenceRoute | None) -> Admission:
        """Return what a large body must be taken into, before it is read; None for no inference."""
        if route is None:
            return Admission(self._memory, lambda: None)
        first = route.steps[0].model_version_id
        require_room = partial(self._engine.require_room, route.deployment_id, first)
        return Admission(self._memory, require_room)

    async def infer(
        self, route: InferenceRoute, inputs: pa.RecordBatch, *, parse_ns: int
    ) -> InferenceRecord:
        """Return what the pipeline makes of ``inputs``, after it was committed to the log.

        Raises:
            ModelError: A step failed.
            StorageUnavailableError: The log refuses; the answer is withheld.
        """
        time_ms = self._clock.now_ms()
        walked = await walk_steps(
            self._engine, route.deployment_id, route.steps, inputs, deadline_s=self._deadline_s
        )
        record = InferenceRecord(
            time_ms=time_ms,
            inputs=inputs,
            outputs=walked.outputs,
            anomalies=no_anomalies(walked.outputs.num_rows),
            metadata=InferenceMetadata(
                last_model=route.steps[-1].label,
                pipeline_version=route.pipeline_version,
                elapsed_ns=(parse_ns, *walked.elapsed_ns),
                partition=self._log.partition,
            ),
        )
        await self._log.append(route.topic, record)
        return record

    def _may_infer(self, principal: Principal, workspace_id: WorkspaceId) -> bool:
        if principal.is_admin or principal.user_id is None:
            return True
        return (workspace_id, principal.user_id) in self._memberships
