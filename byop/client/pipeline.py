"""Pipelines: steps, deployment, inference, logs."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from typing_extensions import override

from byop.client.answers import int_at, text_at
from byop.client.api import Api, Call
from byop.client.deployment import Deployment, start_deployment
from byop.client.deployment_config import DeploymentConfigBuilder
from byop.client.inference_logs import LogReader, LogWindow
from byop.client.model_version import ModelVersion
from byop.client.notebook import facts_table
from byop.client.payloads import (
    Payload,
    Texts,
    encode_file,
    encode_tensor,
    selection_params,
)
from byop.domain.pipelines import ModelStep, Step
from byop.errors import InvalidInputError, InvalidPipelineError, NotFoundError
from byop.wire.definitions import definition_of

INFER_TIMEOUT_S = 15.0
_INFER_PATH = "/v1/api/pipelines/infer"

ConfigLike = Mapping[str, object] | DeploymentConfigBuilder


class Pipeline:
    """A pipeline of a workspace. Its steps live here until ``deploy`` stores them as a version."""

    def __init__(self, api: Api, *, pipeline_id: int, name: str, workspace_id: int) -> None:
        self._api = api
        self._id = pipeline_id
        self._name = name
        self._workspace_id = workspace_id
        self._steps: list[Step] = []
        self._deployment: Deployment | None = None

    def id(self) -> int:
        """Return the id."""
        return self._id

    def name(self) -> str:
        """Return the name."""
        return self._name

    def steps(self) -> list[Step]:
        """Return the steps in order."""
        return list(self._steps)

    def add_model_step(self, model: ModelVersion) -> "Pipeline":
        """Append a step that gives its input to ``model``."""
        self._steps.append(ModelStep(model.reference()))
        return self

    def clear(self) -> "Pipeline":
        """Remove all steps; what is deployed stays as it is."""
        self._steps.clear()
        return self

    def deploy(
        self,
        pipeline_name: str | ConfigLike | None = None,
        deployment_config: ConfigLike | str | None = None,
        wait_for_status: bool = True,
    ) -> "Pipeline":
        """Store the steps as a new version, run it, and return when it answers.

        A name for the deployment, a configuration, or both, in either order. The name is the
        pipeline's when it is left out. Waits up to the client's request_timeout.

        Raises:
            InvalidPipelineError: There are no steps.
            ModelNotRunningError: A model did not start; the message says why.
            ApiError: It still starts when the time is over; ``status`` tells how it goes.
        """
        name, config = _name_and_config(pipeline_name, deployment_config)
        if not self._steps:
            raise InvalidPipelineError(
                f"pipeline {self._name!r} has no steps: call add_model_step before deploy"
            )
        created = create_pipeline_version(self._api, self._name, self._workspace_id, self._steps)
        self._deployment = start_deployment(
            self._api,
            name=name or self._name,
            pipeline_id=self._id,
            pipeline_version_id=int_at(created, "pipeline_variant_pk_id"),
            config=config,
        )
        if wait_for_status:
            self._deployment.wait_for_running(self._name)
        return self

    def undeploy(self) -> "Pipeline":
        """Stop what runs and return when it is gone. Nothing happens when nothing runs."""
        with suppress(NotFoundError):
            self._current_deployment().stop(self._id, self._name)
        self._deployment = None
        return self

    def status(self) -> dict[str, object]:
        """Return how the deployment runs (seed 001, "Get Deployment Status").

        Raises:
            NotFoundError: Nothing is deployed.
        """
        return self._current_deployment().status()

    def url(self) -> str:
        """Return the inference URL as the server publishes it.

        Raises:
            NotFoundError: Nothing is deployed.
        """
        question = {"workspace_id": self._workspace_id, "pipeline_name": self._name}
        return text_at(self._api.ask("/v1/api/admin/get_pipeline_external_url", question), "url")

    def infer(
        self,
        tensor: Any,  # noqa: ANN401 - DataFrame, Arrow table, dict or list; pandas is optional
        timeout: float = INFER_TIMEOUT_S,
        dataset: Texts | None = None,
        dataset_exclude: Texts | None = None,
        dataset_separator: Texts | None = None,
    ) -> Any:  # noqa: ANN401 - what goes in comes back
        """Return the pipeline's answer in the form of ``tensor``.

        A DataFrame gives a DataFrame with the columns time, in.*, out.* and anomaly.count; an
        Arrow table gives one with the same columns; a dict of columns or a list of records gives
        a list of records. ``dataset`` may add ``metadata``, which is left out otherwise.

        Raises:
            ByopError: The class that the server raised, such as ColumnMissingError or
                ModelFailedError.
            ApiError: No answer came within ``timeout`` seconds.
        """
        params = selection_params(dataset, dataset_exclude, dataset_separator)
        return self._infer(encode_tensor(tensor), params, timeout)

    def infer_from_file(
        self,
        filename: str | Path,
        timeout: float = INFER_TIMEOUT_S,
        dataset: Texts | None = None,
        dataset_exclude: Texts | None = None,
        dataset_separator: Texts | None = None,
    ) -> Any:  # noqa: ANN401 - the file's format decides
        """Return the answer to the rows in a file: ``.json`` gives a DataFrame, ``.arrow`` a table.

        Everything else is as with :meth:`infer`.
        """
        params = selection_params(dataset, dataset_exclude, dataset_separator)
        return self._infer(encode_file(Path(filename)), params, timeout)

    def logs(  # noqa: PLR0917 - the documents pass them by position, too
        self,
        limit: int | None = None,
        start_datetime: datetime | None = None,
        end_datetime: datetime | None = None,
        valid: bool | None = None,
        dataset: Texts | None = None,
        dataset_exclude: Texts | None = None,
        dataset_separator: Texts | None = None,
        arrow: bool | None = False,
    ) -> Any:  # noqa: ANN401 - `arrow` decides
        """Return logged inferences as a DataFrame, or as an Arrow table when ``arrow``.

        The newest 100 (or ``limit``), newest first. With a period: its rows (or the first
        ``limit``), oldest first; the start belongs to it, the end does not.

        Raises:
            InvalidInputError: ``valid=False``: failed inferences have no log.
        """
        if valid is False:
            raise InvalidInputError("valid=False is not supported: failed inferences have no log")
        if limit is not None and limit < 1:
            raise InvalidInputError(f"limit must be at least 1, got {limit}")
        reader = LogReader(self._api, pipeline_name=self._name, workspace_id=self._workspace_id)
        window = LogWindow(limit, start_datetime, end_datetime)
        selection = selection_params(dataset, dataset_exclude, dataset_separator)
        if arrow:
            return reader.read_table(window, selection)
        return reader.read_frame(window, selection)

    def _infer(self, payload: Payload, params: list[tuple[str, str]], timeout_s: float) -> Any:  # noqa: ANN401 - the payload decides
        path = f"{_INFER_PATH}/{self._current_deployment().address}/{self._name}"
        call = Call(
            path, payload.body, payload.media_type, accept=payload.media_type, params=params
        )
        return payload.read(self._api.send(call, timeout_s=timeout_s).content)

    def _current_deployment(self) -> Deployment:
        """Return what runs, also when another client deployed it."""
        if self._deployment is None:
            address = urlsplit(self.url()).path.split("/")[-2]
            self._deployment = Deployment(self._api, address)
        return self._deployment

    @override
    def __repr__(self) -> str:
        return f"Pipeline(id={self._id}, name={self._name!r}, steps={len(self._steps)})"

    def _repr_html_(self) -> str:
        steps = " → ".join(step.model.name for step in self._steps)
        deployment = "" if self._deployment is None else self._deployment.address
        facts = {
            "name": self._name,
            "id": self._id,
            "steps": steps or "none",
            "deployment": deployment or "none made here",
        }
        return facts_table("Pipeline", facts)


def create_pipeline_version(api: Api, name: str, workspace_id: int, steps: list[Step]) -> object:
    """Store a version, and the pipeline if need be; return the server's answer."""
    definition = definition_of(name, steps) if steps else {}
    question = {"pipeline_id": name, "workspace_id": workspace_id, "definition": definition}
    return api.ask("/v1/api/pipelines/create", question)


def _name_and_config(*given: object) -> tuple[str | None, Mapping[str, object]]:
    name: str | None = None
    config: Mapping[str, object] | None = None
    for value in given:
        if isinstance(value, DeploymentConfigBuilder):
            value = value.build()  # noqa: PLW2901 - a builder stands for what it builds
        if isinstance(value, str) and name is None:
            name = value
        elif isinstance(value, Mapping) and config is None:
            config = value
        elif value is not None:
            raise InvalidInputError(
                f"deploy takes a name and a deployment configuration, got {type(value).__name__}"
            )
    return name, config or {}
