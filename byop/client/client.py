"""The client: connects, and gives workspaces, models and pipelines."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from typing_extensions import override

from byop.client.answers import int_at, list_at
from byop.client.api import Api
from byop.client.auth import Auth, open_auth
from byop.client.credentials import Credentials, read_connection
from byop.client.model_version import ModelVersion, fetch_version
from byop.client.notebook import facts_table
from byop.client.pipeline import Pipeline, create_pipeline_version
from byop.client.upload import Upload, curl_command, send_upload
from byop.client.workspace import Workspace, read_workspace
from byop.domain.models import Framework
from byop.domain.workspaces import default_workspace_name
from byop.errors import NotFoundError


class Client:
    """A connection to one server as one user.

    Every argument that is left out comes from the environment: ``WALLAROO_URL``,
    ``WALLAROO_AUTH_URL`` (the same as the first by default), ``WALLAROO_SDK_AUTH_TYPE``
    (``user_password`` or ``token``), ``WALLAROO_REQUEST_TIMEOUT`` (seconds, 45; also the longest
    wait for a deployment), ``WALLAROO_USER`` and ``WALLAROO_PASSWORD``, or
    ``WALLAROO_SDK_CREDENTIALS``, the path of a JSON file with ``username`` and ``password`` (or
    ``token``). Nothing set means the server on this machine and the credentials that it wrote at
    its first start. ``credentials_file`` names such a JSON file, ``credentials`` are a
    :class:`UserPassword` or a :class:`BearerToken`.

    Logs in at once. Safe from several threads, apart from the current workspace.

    Raises:
        NotAuthenticatedError: No credentials, or wrong ones.
        ApiError: The server cannot be reached.
    """

    def __init__(
        self,
        api_endpoint: str | None = None,
        auth_endpoint: str | None = None,
        auth_type: str | None = None,
        request_timeout: float | None = None,
        *,
        credentials: Credentials | None = None,
        credentials_file: str | Path | None = None,
    ) -> None:
        connection = read_connection(
            api_endpoint=api_endpoint,
            auth_endpoint=auth_endpoint,
            auth_type=auth_type,
            request_timeout=request_timeout,
            credentials=credentials,
            credentials_file=credentials_file,
        )
        self.auth: Auth = open_auth(connection)
        self.auth.token()
        self._api = Api(
            endpoint=connection.api_endpoint,
            auth=self.auth,
            timeout_s=connection.request_timeout_s,
        )
        self._workspace: Workspace | None = None

    @property
    def api_endpoint(self) -> str:
        """Address of the server."""
        return self._api.endpoint

    def list_workspaces(self) -> list[Workspace]:
        """Return the workspaces that the user may use, oldest first."""
        answer = self._api.ask("/v1/api/workspaces/list", {})
        return [read_workspace(entry) for entry in list_at(answer, "workspaces")]

    def get_workspace(self, name: str, create_if_not_exist: bool = False) -> Workspace:
        """Return the workspace of that name, made when there is none and that is wished.

        Raises:
            NotFoundError: There is none; also known as EntityNotFoundError.
        """
        for workspace in self.list_workspaces():
            if workspace.name() == name:
                return workspace
        if not create_if_not_exist:
            raise NotFoundError("workspace", name)
        return self.create_workspace(name)

    def create_workspace(self, workspace_name: str) -> Workspace:
        """Return a new workspace.

        Raises:
            AlreadyExistsError: The name is taken.
            InvalidNameError: The name is no DNS label.
        """
        question = {"workspace_name": workspace_name}
        created = int_at(self._api.ask("/v1/api/workspaces/create", question), "workspace_id")
        for workspace in self.list_workspaces():
            if workspace.id() == created:
                return workspace
        raise NotFoundError("workspace", workspace_name)

    def set_current_workspace(self, workspace: Workspace) -> Workspace:
        """Make models and pipelines go to ``workspace`` from now on, and return it."""
        self._workspace = workspace
        return workspace

    def get_current_workspace(self) -> Workspace:
        """Return the workspace that was set, else the user's default one.

        Raises:
            NotFoundError: None was set, and the user has none.
        """
        if self._workspace is None:
            self._workspace = self._default_workspace()
        return self._workspace

    def upload_model(  # noqa: PLR0917 - the documents pass them by position, too
        self,
        name: str,
        path: str | Path,
        framework: Framework | str,
        input_schema: pa.Schema | None = None,
        output_schema: pa.Schema | None = None,
        convert_wait: bool = True,
        *,
        visibility: str = "private",
        requirements: Sequence[str] = (),
        python_version: str | None = None,
        arch: str = "x86",
        accel: str = "none",
    ) -> ModelVersion:
        """Upload a model file to the current workspace and return its new version.

        Shows a bar, then waits for the conversion unless ``convert_wait`` is off. A conversion
        that fails raises nothing: the version's ``status()`` is ``error``, ``error_summary()``
        says why, and it is written to standard error.

        Raises:
            InvalidArchiveError: The file is no zip.
            InvalidInputError: There is no such file, or the server refuses what goes along.
        """
        upload = Upload(
            name=name,
            workspace_id=self.get_current_workspace().id(),
            framework=str(framework),
            input_schema=input_schema,
            output_schema=output_schema,
            visibility=str(visibility),
            requirements=requirements,
            python_version=python_version,
            arch=str(arch),
            accel=str(accel),
        )
        version_id = send_upload(self._api, upload, Path(path))
        version = ModelVersion(
            self._api,
            fetch_version(self._api, version_id),
            input_schema=input_schema,
            output_schema=output_schema,
        )
        return version.wait() if convert_wait else version

    upload_client = upload_model

    def generate_upload_model_api_command(  # noqa: PLR0917 - as above
        self,
        base_url: str,
        name: str,
        path: str | Path,
        framework: Framework | str,
        input_schema: pa.Schema | None = None,
        output_schema: pa.Schema | None = None,
    ) -> str:
        """Return a curl command that uploads the file. It holds a token: keep it to yourself."""
        upload = Upload(
            name=name,
            workspace_id=self.get_current_workspace().id(),
            framework=str(framework),
            input_schema=input_schema,
            output_schema=output_schema,
        )
        return curl_command(base_url, upload, str(path), self.auth.token())

    def build_pipeline(self, pipeline_name: str) -> Pipeline:
        """Return the current workspace's pipeline of that name, without steps; new if need be.

        Raises:
            InvalidNameError: The name is no DNS label.
        """
        workspace_id = self.get_current_workspace().id()
        created = create_pipeline_version(self._api, pipeline_name, workspace_id, [])
        return Pipeline(
            self._api,
            pipeline_id=int_at(created, "pipeline_pk_id"),
            name=pipeline_name,
            workspace_id=workspace_id,
        )

    def close(self) -> None:
        """Close the connections that are kept open. Any later call opens new ones."""
        self._api.close()

    def _default_workspace(self) -> Workspace:
        user_id, email = self.auth.user_id(), self.auth.user_email()
        workspaces = self.list_workspaces()
        own = [workspace for workspace in workspaces if workspace.created_by() == user_id]
        name = default_workspace_name(email)
        for workspace in own:
            if workspace.name() == name:
                return workspace
        if own:
            return own[0]
        raise NotFoundError("workspace", name)

    @override
    def __repr__(self) -> str:
        return f"Client({self.api_endpoint!r})"

    def _repr_html_(self) -> str:
        workspace = self._workspace.name() if self._workspace else "the user's default"
        return facts_table("byop", {"server": self.api_endpoint, "workspace": workspace})
