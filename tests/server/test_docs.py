import re

from tests.server.conftest import Api

_METHODS = {"get", "post"}


def test_the_page_and_its_files_come_from_here(api: Api) -> None:
    page = api.get("/v1/api/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "://" not in page.text
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(sources) == 4
    for source in sources:
        response = api.get(source)
        assert response.status_code == 200, source
        assert response.content
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_another_file_is_404(api: Api) -> None:
    assert api.get("/v1/api/docs/__init__.py").status_code == 404


def test_the_document_is_openapi_3_1_with_every_reference_resolved(api: Api) -> None:
    document = api.get("/v1/api/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    names = set(document["components"]["schemas"])
    references = set(re.findall(r"'#/components/schemas/([^']+)'", str(document)))
    assert references
    assert references <= names
    operations = [
        operation
        for path in document["paths"].values()
        for method, operation in path.items()
        if method in _METHODS
    ]
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids))
    assert all(operation["summary"] and operation["responses"] for operation in operations)


def test_every_route_of_the_guide_is_in_the_document(api: Api) -> None:
    paths = set(api.get("/v1/api/openapi.json").json()["paths"])
    assert {
        "/auth/realms/master/protocol/openid-connect/token",
        "/v1/api/config",
        "/v1/api/workspaces/create",
        "/v1/api/workspaces/list",
        "/v1/api/models/upload",
        "/v1/api/models/upload_and_convert",
        "/v1/api/models/upload_stream",
        "/v1/api/models/get_version_by_id",
        "/v1/api/pipelines/create",
        "/v1/api/pipelines/deploy",
        "/v1/api/pipelines/undeploy",
        "/v1/api/pipelines/get_logs",
        "/v1/api/pipelines/infer/{deployment}/{pipeline}",
        "/v1/api/status/get_deployment",
        "/v1/api/admin/get_pipeline_external_url",
        "/v1/api/features/list",
        "/v1/api/users/query",
        "/health",
        "/ready",
        "/metrics",
    } <= paths


def test_routes_that_need_a_token_say_so(api: Api) -> None:
    document = api.get("/v1/api/openapi.json").json()
    protected = document["paths"]["/v1/api/workspaces/list"]["post"]
    assert protected["security"] == [{"HTTPBearer": []}]
    assert "security" not in document["paths"]["/v1/api/config"]["get"]
