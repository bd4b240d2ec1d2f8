"""Launches: what the engine needs to run a deployment, gathered from where it lies."""

from collections.abc import Sequence
from dataclasses import replace

from byop.domain.deployments import Deployment, ModelResources, SecretEnvironment
from byop.domain.models import ModelVersion
from byop.errors import ModelVersionNotReadyError
from byop.ports.engine import DeploymentLaunch, ModelLaunch
from byop.ports.environments import Environments, ModelEnvironment
from byop.services.conversions import requirement_lines
from byop.services.model_files import ModelFiles


class Launches:
    """Prepares launches."""

    def __init__(self, *, files: ModelFiles, environments: Environments) -> None:
        self._files = files
        self._environments = environments

    def make_ready(self, models: Sequence[ModelVersion]) -> None:
        """Do what may take long: unpack files and build environments that are gone.

        What fails here fails before anything has changed; ``prepare`` is quick afterwards.
        """
        for model in models:
            self._files.locate(model)
            self._environment(model)

    def prepare(self, deployment: Deployment, models: Sequence[ModelVersion]) -> DeploymentLaunch:
        """Return the launch of ``deployment`` with one entry per distinct model version."""
        distinct = {model.id: model for model in models}
        return DeploymentLaunch(
            deployment_id=deployment.id,
            name=deployment.address,
            replica_count=deployment.config.replica_count,
            models=tuple(self._model(deployment, model) for model in distinct.values()),
        )

    def _model(self, deployment: Deployment, model: ModelVersion) -> ModelLaunch:
        return ModelLaunch(
            model_version_id=model.id,
            name=model.name,
            version=model.version,
            sha=model.sha,
            framework=model.conversion.framework,
            path=self._files.locate(model),
            python=self._environment(model).python,
            signature=model.signature,
            resources=self._resources(deployment, model),
        )

    def _environment(self, model: ModelVersion) -> ModelEnvironment:
        """Return the version's environment; one whose folder was deleted is built again."""
        if model.environment_key is None:
            raise ModelVersionNotReadyError(model.name, model.version, model.status.value)
        found = self._environments.get(model.environment_key)
        if found is not None:
            return found
        lines = requirement_lines(model, self._files.project(model))
        return self._environments.ensure(model.conversion.framework, lines)

    def _resources(self, deployment: Deployment, model: ModelVersion) -> ModelResources:
        """Return the model's own resources, else the engine's without its environment."""
        config = deployment.config
        own = config.models.get(model.id)
        if own is not None:
            return own
        return replace(config.engine, environment=SecretEnvironment())
