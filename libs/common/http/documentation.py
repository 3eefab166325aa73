"""The page at `/docs`, with all that it loads from the service itself: it works where there is no way to the internet."""

from collections.abc import Awaitable, Callable
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse

PATH = "/docs"
#: Of Swagger UI, as the package `fastapi-swagger` carries it.
ASSETS = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png")
#: What is answered while the service is starting, too.
PATHS = frozenset([PATH, "/openapi.json", *(f"{PATH}/{asset}" for asset in ASSETS)])
#: Browsers then load nothing from elsewhere, whatever Swagger UI would like to.
POLICY = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"


def documentation(app: FastAPI) -> APIRouter:
    """The routes of the page about `app`. What it loads is named relative to it: a proxy may serve it under a prefix."""
    router = APIRouter(include_in_schema=False)
    script, style, icon = (f".{PATH}/{asset}" for asset in ASSETS)
    page = get_swagger_ui_html(
        openapi_url="./openapi.json",
        title=app.title,
        swagger_js_url=script,
        swagger_css_url=style,
        swagger_favicon_url=icon,
        swagger_ui_parameters={"validatorUrl": None},  # else it has a validator on the internet look at the schema
    )
    page.headers["content-security-policy"] = POLICY

    @router.get(PATH)
    async def read() -> HTMLResponse:
        return page

    folder = Path(str(files("fastapi_swagger.resources")))
    for asset in ASSETS:
        router.add_api_route(f"{PATH}/{asset}", _file(folder / asset))
    return router


def _file(path: Path) -> Callable[[], Awaitable[FileResponse]]:
    async def read() -> FileResponse:
        return FileResponse(path, headers={"cache-control": "max-age=3600"})

    return read
