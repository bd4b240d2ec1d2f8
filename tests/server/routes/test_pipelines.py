import json

import pytest

from byop.domain.models import ModelReference
from byop.domain.pipelines import ModelStep
from tests.server.conftest import Api

_MODEL = {"name": "chat", "version": "0b98", "sha": "bc85"}
_DEFINITION = {"steps": [{"ModelInference": {"models": [_MODEL]}}]}


def _create(api: Api, definition: object) -> dict[str, object]:
    body = {"pipeline_id": "chat", "workspace_id": 1, "definition": definition}
    answer: dict[str, object] = api.post("/v1/api/pipelines/create", json=body).json()
    return answer


@pytest.mark.parametrize("definition", [{}, "{}", "", None])
def test_an_empty_pipeline_is_created_as_documented(api: Api, definition: object) -> None:
    assert _create(api, definition) == {
        "pipeline_pk_id": 7,
        "pipeline_variant_pk_id": 9,
        "pipeline_variant_version": "a6dd2cee-58d6-4d24-9e25-f531dbbb95ad",
    }
    assert api.fakes.pipelines.steps == ()


@pytest.mark.parametrize("definition", [_DEFINITION, json.dumps(_DEFINITION)])
def test_steps_may_be_json_or_text(api: Api, definition: object) -> None:
    _create(api, definition)
    assert api.fakes.pipelines.steps == (ModelStep(ModelReference(**_MODEL)),)


def test_an_unknown_step_is_400_and_named(api: Api) -> None:
    answer = _create(api, {"steps": [{"Average": {}}]})
    assert (answer["code"], answer["type"]) == (400, "invalid_pipeline")
    assert "'Average'" in str(answer["error"])


@pytest.mark.parametrize("config", [{"cpus": 1}, '{"cpus": 1}', None])
def test_a_deployment_takes_its_configuration_as_json_or_text(api: Api, config: object) -> None:
    body = {
        "deploy_id": "chat",
        "pipeline_version_pk_id": "9",
        "pipeline_id": 7,
        "models": [_MODEL],
        "model_ids": [3],
        "engine_config": config,
    }
    assert api.post("/v1/api/pipelines/deploy", json=body).json() == {"id": 5}
    request = api.fakes.deployments.requests[0]
    assert (request.name, request.pipeline_version_id, request.pipeline_id) == ("chat", 9, 7)
    assert request.engine_config == config
    assert (request.model_ids, request.models) == ((3,), (ModelReference(**_MODEL),))


def test_a_wrong_field_is_named_and_no_value_is_repeated(api: Api) -> None:
    body = {"deploy_id": "chat", "pipeline_version_pk_id": "hunter2", "engine_config": ["hunter2"]}
    response = api.post("/v1/api/pipelines/deploy", json=body)
    assert (response.status_code, response.json()["type"]) == (400, "invalid_input")
    assert "pipeline_version_pk_id" in response.json()["error"]
    assert "engine_config" in response.json()["error"]
    assert "hunter2" not in response.text


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", "invalid_payload"),
        ("nothing", "invalid_payload"),
        ("[]", "invalid_input"),
        ('"text"', "invalid_input"),
        ("7", "invalid_input"),
    ],
)
def test_a_body_that_is_no_object_is_400(api: Api, body: str, code: str) -> None:
    headers = {"Content-Type": "application/json"}
    response = api.post("/v1/api/pipelines/create", data=body, headers=headers)
    assert (response.status_code, response.json()["type"]) == (400, code)


def test_status_ends_with_undeploy(api: Api) -> None:
    api.post("/v1/api/pipelines/deploy", json={"deploy_id": "chat", "pipeline_version_pk_id": 9})
    named = {"name": "chat-5"}
    assert api.post("/v1/api/status/get_deployment", json=named).status_code == 200
    undeployed = api.post("/v1/api/pipelines/undeploy", json={"pipeline_id": 7, "deployment_id": 5})
    assert (undeployed.status_code, undeployed.json()) == (200, {})
    assert api.post("/v1/api/status/get_deployment", json=named).status_code == 404


def test_undeploying_what_is_not_there_is_404(api: Api) -> None:
    response = api.post("/v1/api/pipelines/undeploy", json={"deployment_id": 99})
    assert response.status_code == 404
