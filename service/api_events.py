"""GET /v1/events: what happens, as server-sent events, as it happens."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Final

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from service import http_models as models
from service.api_reading import event_view
from service.decimals import plain
from service.event_hub import EventHub, HubEvent, HubFull, Reader
from service.http_answers import ApiError
from service.http_ask import Api
from service.http_body import check_query

# Proxies drop a connection on which nothing is said for about a minute.
KEEPALIVE_SECONDS: Final = 15.0


def events_router(api: Api) -> APIRouter:
    """The stream of events."""
    router = APIRouter(tags=["events"])

    @router.get(
        "/v1/events",
        summary="Follow what happens",
        responses={
            200: {
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
                "description": "Until it is closed",
            },
            **models.errors(429),
        },
        openapi_extra={
            "parameters": [
                {
                    "name": "Last-Event-ID",
                    "in": "header",
                    "required": False,
                    "schema": {"type": "string"},
                    "description": "Go on after this event; without it, with the next one",
                }
            ]
        },
    )
    async def follow(request: Request) -> Response:
        """The audit events of all positions as server-sent events.

        Where events were missed (a restart, or more than are kept), an event named `missed` comes first: read the
        positions again.
        """
        check_query(request, ())
        last_id = request.headers.get("last-event-id")
        number, missed = api.events.position_of(last_id) if last_id else (api.events.latest, False)
        try:
            reader = api.events.follow()
        except HubFull:
            raise ApiError(
                429, "too_many_requests", "too many follow the events already", headers={"Retry-After": "10"}
            ) from None
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        stream = _stream(api.events, reader, number, missed=missed)
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

    return router


async def _stream(hub: EventHub, reader: Reader, number: int, *, missed: bool) -> AsyncIterator[bytes]:
    """Every event after `number`, and a comment now and then, until the reader or the service goes."""
    try:
        yield b"event: missed\ndata: {}\n\n" if missed else b": welcome\n\n"
        while not hub.closed:
            found = hub.after(number)
            for event in found:
                number = event.number
                yield _line(event)
            if not found:
                await reader.wait(KEEPALIVE_SECONDS)
                if hub.latest == number:
                    yield b": still here\n\n"
    finally:
        reader.close()


def _line(event: HubEvent) -> bytes:
    body = orjson.dumps(event_view(dict(event.body)), default=_default, option=orjson.OPT_NON_STR_KEYS)
    return b"id: " + event.id.encode("ascii") + b"\ndata: " + body + b"\n\n"


def _default(value: object) -> object:
    return plain(value) if isinstance(value, Decimal) else str(value)
