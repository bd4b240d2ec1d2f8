"""The OpenAPI document: FastAPI's, and the inference route, which FastAPI does not serve."""

from typing import Any

from fastapi import FastAPI
from typing_extensions import override

_ARROW = "application/vnd.apache.arrow.file"
_QUERY = {
    "dataset[]": "Datasets or columns to answer with: time, in, out, anomaly, metadata; * is all",
    "dataset.exclude[]": "Datasets or columns to leave out",
    "dataset.separator": "Join nested names with this, as in out.text; without it they nest",
}
_RECORDS = {"type": "array", "items": {"type": "object"}}
_TABLE = {"application/json": {"schema": _RECORDS}, _ARROW: {"schema": {}}}

_INFERENCE: dict[str, Any] = {
    "tags": ["inference"],
    "summary": "Infer with a deployed pipeline",
    "description": "The deployment is {deploy_id}-{id}. Rows are pandas records or an Arrow file; "
    "Accept decides how they are answered, like the request's when it does not say.",
    "operationId": "infer",
    "parameters": [
        *(
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in ("deployment", "pipeline")
        ),
        *(
            {
                "name": name,
                "in": "query",
                "description": text,
                "schema": {"type": "array", "items": {"type": "string"}}
                if name.endswith("[]")
                else {"type": "string"},
            }
            for name, text in _QUERY.items()
        ),
    ],
    "requestBody": {"required": True, "content": _TABLE},
    "responses": {
        "200": {"description": "One row per row of the request", "content": _TABLE},
        "default": {
            "description": "A problem",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        },
    },
    "security": [{"HTTPBearer": []}],
}


class DocumentedApi(FastAPI):
    """A FastAPI application whose document also tells of inference."""

    @override
    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        document["paths"]["/v1/api/pipelines/infer/{deployment}/{pipeline}"] = {"post": _INFERENCE}
        return document
