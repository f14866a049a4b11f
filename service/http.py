"""The HTTP application: every endpoint, its guard, its errors and its description, put together."""

import time
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from actors.directory import Directory
from actors.domain.model import Plan
from actors.runtime.base import Ref
from service.api_events import events_router
from service.api_positions import changes_router
from service.api_reading import reading_router, state_router
from service.event_hub import EventHub
from service.http_answers import ApiError, answer, error_answer, on_api_error, on_http_error
from service.http_ask import Api
from service.http_docs import docs_page
from service.http_guard import Guard
from service.http_models import SENT
from service.webhooks import webhooks_router

TITLE = "Exitkeeper"
DESCRIPTION = (
    "Keeps the exits of leveraged positions. Prices and quantities are decimal strings; times are RFC 3339 in UTC. "
    "A 503 was definitely not accepted; after a 504, repeat with the same id."
)


def create_app(
    *,
    directory: Directory,
    supervisor: Ref,
    persistence: Ref,
    plans: Mapping[str, Plan],
    events: EventHub,
    token: str | None = None,
    webhook_secret: str | None = None,
    now: Callable[[], int] | None = None,
    answer_seconds: float = 5.0,
) -> FastAPI:
    """The application. `supervisor` takes the requests of actors/messages.py, `persistence` takes ReadEvents.

    `now` is wall time in microseconds; `answer_seconds` is how long an answer is waited for.
    """
    api = Api(
        directory=directory,
        supervisor=supervisor,
        persistence=persistence,
        plans=plans,
        events=events,
        now=now or (lambda: time.time_ns() // 1000),
        answer_seconds=answer_seconds,
    )
    app = FastAPI(
        title=TITLE, description=DESCRIPTION, version=_version(), docs_url=None, redoc_url=None, openapi_url=None
    )
    for router in (
        changes_router(api),
        reading_router(api),
        events_router(api),
        webhooks_router(api, webhook_secret),
        state_router(api),
    ):
        app.include_router(router)
    app.add_exception_handler(ApiError, on_api_error)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_middleware(Guard, token=token)
    _describe(app, secured=token is not None)
    return app


async def _on_validation(_request: Request, error: Exception) -> Response:
    """What the framework itself cannot read of a request."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    field = ".".join(str(part) for part in found[0]["loc"][1:]) if found else ""
    message = str(found[0]["msg"]) if found else "the request cannot be read"
    return error_answer(ApiError(422, "invalid", message, field=field))


def _describe(app: FastAPI, *, secured: bool) -> None:
    """Serve /openapi.json, with the bodies that the endpoints read themselves, and /docs."""
    schema = app.openapi()
    schemas: dict[str, Any] = schema["components"]["schemas"]
    _, sent = models_json_schema([(model, "validation") for model in SENT], ref_template="#/components/schemas/{model}")
    schemas.update(sent["$defs"])
    # The framework describes a validation error of its own that is never answered; ours is ErrorAnswer.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path in schema["paths"].values():
        for operation in path.values():
            described = operation["responses"].get("422", {})
            if "HTTPValidationError" in str(described):
                operation["responses"]["422"] = {
                    "description": "What is wrong, field by field",
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}},
                }
    if secured:
        schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"token": []}]
    page = docs_page(schema)

    async def openapi() -> Response:
        return answer(schema)

    async def docs() -> Response:
        # Nothing on the page is loaded from elsewhere, and the browser is told to keep it so.
        return HTMLResponse(page, headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"})

    app.add_api_route("/openapi.json", openapi, include_in_schema=False, methods=["GET"])
    app.add_api_route("/docs", docs, include_in_schema=False, methods=["GET"])


def _version() -> str:
    try:
        return metadata.version("exitkeeper")
    except metadata.PackageNotFoundError:
        return "0"
