"""Swagger UI over the server's own OpenAPI document, from files that were installed with us."""

from importlib import resources

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse

from byop.server.problems import UnknownRouteError

OPENAPI_URL = "/v1/api/openapi.json"
DOCS_URL = "/v1/api/docs"

router = APIRouter(include_in_schema=False)

_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "favicon-32x32.png": "image/png",
}
_START = f"""\
SwaggerUIBundle({{
  url: "{OPENAPI_URL}",
  dom_id: "#swagger-ui",
  persistAuthorization: false,
  validatorUrl: null,
  tryItOutEnabled: true,
}});
"""
_PAGE = f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>byop REST API</title>
<link rel="icon" type="image/png" href="{DOCS_URL}/favicon-32x32.png">
<link rel="stylesheet" href="{DOCS_URL}/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{DOCS_URL}/swagger-ui-bundle.js"></script>
<script src="{DOCS_URL}/start.js"></script>
</body>
</html>
"""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
)


@router.get(DOCS_URL)
async def docs_page() -> HTMLResponse:
    """Return the page; the policy keeps it from loading anything from elsewhere."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})


@router.get(f"{DOCS_URL}/start.js")
async def docs_start() -> Response:
    """Return the script that opens our document."""
    return Response(_START, media_type="text/javascript")


@router.get(f"{DOCS_URL}/{{name}}")
def docs_asset(name: str) -> Response:
    """Return one of the three files of Swagger UI."""
    if name not in _ASSETS:
        raise UnknownRouteError(f"{DOCS_URL}/{name}")
    content = resources.files("fastapi_swagger.resources").joinpath(name).read_bytes()
    return Response(
        content, media_type=_ASSETS[name], headers={"Cache-Control": "public, max-age=86400"}
    )
