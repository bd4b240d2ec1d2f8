"""Deployments: start, watch, stop."""

from collections.abc import Mapping

from byop.client.answers import int_at, list_at, value_at
from byop.client.api import Api
from byop.client.progress import show_status
from byop.client.waiting import attempts
from byop.domain.deployments import RunStatus
from byop.errors import ApiError, ByopError, ModelNotRunningError, NotFoundError

_POLL_TIMEOUT_S = 5.0


def start_deployment(
    api: Api,
    *,
    name: str,
    pipeline_id: int,
    pipeline_version_id: int,
    config: Mapping[str, object],
) -> "Deployment":
    """Ask the server to run a pipeline version; return at once."""
    question = {
        "deploy_id": name,
        "engine_config": config,
        "pipeline_version_pk_id": pipeline_version_id,
        "pipeline_id": pipeline_id,
    }
    answer = api.ask("/v1/api/pipelines/deploy", question)
    return Deployment(api, f"{name}-{int_at(answer, 'id')}")


class Deployment:
    """A pipeline version that runs at ``address``, ``{name}-{id}``."""

    def __init__(self, api: Api, address: str) -> None:
        self._api = api
        self.address = address

    def status(self) -> dict[str, object]:
        """Return how it runs (seed 001, "Get Deployment Status").

        Raises:
            NotFoundError: It does not run any more.
        """
        question = {"name": self.address}
        answer = self._api.ask("/v1/api/status/get_deployment", question, timeout_s=_POLL_TIMEOUT_S)
        if not isinstance(answer, dict):
            raise ApiError("the server's answer about a deployment is no JSON object")
        return answer

    def wait_for_running(self, pipeline_name: str) -> None:
        """Return once it is Running.

        Raises:
            ModelNotRunningError: It is in Error.
            ApiError: It is neither when the time is over.
        """
        status: dict[str, object] = {}
        with show_status(f"deploying {pipeline_name}") as show:
            for waited_s in attempts(self._api.timeout_s):
                status = self.status()
                if status.get("status") == RunStatus.RUNNING:
                    return
                if status.get("status") == RunStatus.ERROR:
                    raise _failure(pipeline_name, status)
                show(f"deploying {pipeline_name}: {status.get('status')}, {waited_s:.0f} s")
        raise ApiError(
            f"pipeline {pipeline_name!r} is {status.get('status')} after "
            f"{self._api.timeout_s:g} s{_told(status)}: it goes on; ask status(), or connect with "
            "a longer request_timeout"
        )

    def stop(self, pipeline_id: int, pipeline_name: str) -> None:
        """Stop it and return once it is gone.

        Raises:
            NotFoundError: The server does not know it.
            ApiError: It is still there when the time is over.
        """
        deployment_id = int(self.address.rpartition("-")[2])
        question = {"pipeline_id": pipeline_id, "deployment_id": deployment_id}
        self._api.ask("/v1/api/pipelines/undeploy", question)
        with show_status(f"undeploying {pipeline_name}"):
            for _waited_s in attempts(self._api.timeout_s):
                try:
                    self.status()
                except NotFoundError:
                    return
        raise ApiError(
            f"pipeline {pipeline_name!r} still runs {self._api.timeout_s:g} s after undeploy"
        )


def _failure(pipeline_name: str, status: Mapping[str, object]) -> ByopError:
    reason = "; ".join(_reasons(status)) or "the server gave no reason"
    return ByopError.rebuild(
        ModelNotRunningError.code,
        f"pipeline {pipeline_name!r} does not run: {reason}",
        {"model": pipeline_name, "reason": reason},
    )


def _told(status: Mapping[str, object]) -> str:
    reasons = "; ".join(_reasons(status))
    return f" ({reasons})" if reasons else ""


def _reasons(status: Mapping[str, object]) -> list[str]:
    """Return what a status gives as reasons, those of the replicas first.

    The engine repeats them with the replica's name in front: those are left out.
    """
    told: list[object] = [
        value_at(process, "reason")
        for part in ("sidekicks", "engines", "engine_lbs")
        for process in list_at(dict(status), part)
    ]
    reasons: list[str] = []
    for reason in [*told, *list_at(dict(status), "details")]:
        if not isinstance(reason, str) or not reason:
            continue
        if not any(reason in known or reason.endswith(f": {known}") for known in reasons):
            reasons.append(reason)
    return reasons
