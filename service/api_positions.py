"""The endpoints that change positions: open, adopt, close, amend. Each waits for an answer that is durable."""

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from actors.directory import Published
from actors.domain.errors import Fault, PlanRefused
from actors.domain.model import Plan, Side
from actors.domain.plans import parse_plan, plan_to_dict
from actors.messages import Amended, AmendRequest, CloseAccepted, CloseRequest, Opened, OpenRequest, Previewed, Refusal
from service import http_models as models
from service.decimals import plain
from service.http_answers import ApiError, answer, from_refusal, refused
from service.http_ask import Api, LoopReply
from service.http_body import IDENTIFIER, Fields, check_query, flag_parameter, read_object
from service.views import position_view

OPEN_FIELDS: Final = (
    *("id", "account", "symbol", "side", "quantity", "plan", "adopt", "foreign_orders", "act_now", "tags"),
)
MAX_TAGS: Final = 16
_VERSION: Final = re.compile(r'(?:W/)?"?([0-9]{1,18})"?', re.ASCII)


def new_id() -> str:
    """A short random id: 12 lower-case base32 characters."""
    return base64.b32encode(secrets.token_bytes(8)).decode("ascii").lower()[:12]


def changes_router(api: Api) -> APIRouter:
    """POST /v1/positions, POST …/close and PUT …/plan."""
    router = APIRouter(prefix="/v1/positions", tags=["positions"])
    _add_open(router, api)
    _add_close(router, api)
    _add_amend(router, api)
    return router


def _add_open(router: APIRouter, api: Api) -> None:
    @router.post(
        "",
        status_code=201,
        summary="Open or adopt a position",
        openapi_extra=models.body_of(models.OpenBody),
        responses={
            201: {"model": models.PositionView, "description": "Its entry intent is durable"},
            200: {"model": models.PositionView, "description": "A preview, or an identical repeat"},
            **models.errors(400, 409, 413, 422, 429, 503, 504),
        },
    )
    async def open_position(request: Request, preview: str | None = None) -> Response:
        """Send the entry order and manage what it fills, or (`adopt`) take over what is on the venue already.

        Repeating an identical request with its id is harmless. `preview=true` answers every price and quantity and
        sends nothing.
        """
        check_query(request, ("preview",))
        preview_only = flag_parameter(preview, "preview")
        values = read_open(await read_object(request), api.plans)
        said = await api.ask(
            lambda reply: OpenRequest(reply=reply, preview=preview_only, **values),
            unknown=f"it may have been opened: repeat the same request with the id {values['id']}",
        )
        if isinstance(said, Opened):
            headers = {"Location": f"/v1/positions/{said.published.position_id}"}
            return _position(api, said.published, 200 if said.repeated else 201, headers)
        if isinstance(said, Previewed):
            return _position(api, said.published, 200)
        raise not_done(said)


def _add_close(router: APIRouter, api: Api) -> None:
    @router.post(
        "/{position_id}/close",
        status_code=202,
        summary="Close by hand",
        openapi_extra=models.body_of(models.CloseBody, required=False),
        responses={202: {"model": models.CloseAnswer}, **models.errors(400, 404, 409, 413, 422, 429, 503, 504)},
    )
    async def close_position(request: Request, position_id: str) -> Response:
        """Close a fraction of what remains when this is first accepted; repeating a `request_id` closes once."""
        check_query(request, ())
        known_id(position_id)
        fraction, request_id = read_close(await read_object(request))
        said = await api.ask(
            lambda reply: CloseRequest(position_id=position_id, fraction=fraction, request_id=request_id, reply=reply),
            unknown="it may close: repeat the same request"
            + (f" with the request_id {request_id}" if request_id else ""),
        )
        if isinstance(said, CloseAccepted):
            body = {"leg": said.leg, "request_id": said.request_id or None, "quantity": plain(said.quantity)}
            return answer(body, 202)
        raise not_done(said)


def _add_amend(router: APIRouter, api: Api) -> None:
    @router.put(
        "/{position_id}/plan",
        summary="Amend the plan",
        openapi_extra={
            **models.body_of(models.PlanBody),
            "parameters": [
                {
                    "name": "If-Match",
                    "in": "header",
                    "required": False,
                    "schema": {"type": "string"},
                    "description": "The position's version; another one is refused with 412",
                }
            ],
        },
        responses={200: {"model": models.PositionView}, **models.errors(400, 404, 409, 412, 413, 422, 429, 503, 504)},
    )
    async def amend_plan(request: Request, position_id: str) -> Response:
        """Replace the plan by a new revision. Never loosens a stop and never acts at once unless told to."""
        check_query(request, ())
        known_id(position_id)
        version = read_version(request.headers.get("if-match"))
        body, looser, act_now = read_amendment(await read_object(request))

        def message(reply: LoopReply) -> AmendRequest:
            return AmendRequest(
                position_id=position_id,
                body=body,
                reply=reply,
                expected_version=version,
                allow_looser_stop=looser,
                act_now=act_now,
            )

        said = await api.ask(message, unknown="the plan may be amended: read the position, then decide")
        if isinstance(said, Amended):
            return _position(api, said.published, 200)
        raise not_done(said)


def known_id(position_id: str) -> None:
    """Refuse what cannot be an id of ours."""
    if not IDENTIFIER.fullmatch(position_id):
        raise ApiError(404, "not_found", "no position has such an id; ids are 1 to 64 letters, digits, - and _")


def read_open(body: dict[str, Any], plans: Mapping[str, Plan]) -> dict[str, Any]:
    """The fields of an OpenRequest. Raises ApiError with every fault."""
    fields = Fields(body, OPEN_FIELDS)
    adopt = fields.flag("adopt")
    side = fields.choice("side", ("long", "short"), required=not adopt)
    foreign = fields.choice("foreign_orders", ("keep", "cancel"))
    if foreign and not adopt:
        fields.fault("contradiction", "foreign_orders", "foreign_orders only has a meaning with adopt; leave it out")
    plan = read_plan(fields, plans)
    values = {
        "account": fields.text("account", required=True),
        "symbol": fields.text("symbol", required=True),
        "side": Side(side) if side else None,
        "quantity": fields.decimal("quantity", required=not adopt),
        "adopt": adopt,
        "foreign_orders": foreign or "",
        "act_now": fields.flag("act_now"),
        "tags": _read_tags(fields),
    }
    position_id = fields.identifier("id")
    fields.finish()
    named = body.get("plan") if isinstance(body.get("plan"), str) else None
    return {
        **values,
        "id": position_id or new_id(),
        "plan": plan,
        "digest": digest({**values, "plan": named or (plan_to_dict(plan) if body.get("plan") and plan else "runner")}),
    }


def digest(values: Mapping[str, Any]) -> str:
    """What stands for a whole request, so that an identical repeat is recognised however it was written."""
    canonical = orjson.dumps(values, default=plain, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(canonical, digest_size=16).hexdigest()


def read_plan(fields: Fields, plans: Mapping[str, Plan]) -> Plan | None:
    """The plan of a body: a name, or a plan as an object; `runner` without one."""
    value = fields.body.get("plan", "runner")
    if value is None:
        value = "runner"
    if isinstance(value, str):
        if value not in plans:
            names = ", ".join(sorted(plans))
            fields.fault("unknown_plan", "plan", f"{ascii(value)[:64]} is not a plan here; there are: {names}")
        return plans.get(value)
    if not isinstance(value, dict):
        fields.fault("not_an_object", "plan", "plan must be the name of a plan, or a plan as an object")
        return None
    try:
        return parse_plan(value)
    except PlanRefused as refusal:
        for fault in refusal.faults:
            name = f"plan.{fault.field}" if fault.field else "plan"
            fields.fault(fault.code, name, fault.message)
        return None


def _read_tags(fields: Fields) -> dict[str, str]:
    tags = fields.body.get("tags")
    if tags is None:
        return {}
    if not isinstance(tags, dict) or len(tags) > MAX_TAGS:
        fields.fault("not_an_object", "tags", f"tags must be an object of at most {MAX_TAGS} strings")
        return {}
    for key, value in tags.items():
        if not 1 <= len(key) <= 64 or not isinstance(value, str) or len(value) > 256:
            fields.fault(
                "not_a_string",
                f"tags.{ascii(key)[1:-1][:60]}",
                "a tag has a name of 1 to 64 characters and a string of 256 at most",
            )
            return {}
    return tags


def read_close(body: dict[str, Any]) -> tuple[Decimal, str]:
    """The fraction (1 when absent) and the request id of a close."""
    fields = Fields(body, ("fraction", "request_id"))
    fraction = fields.decimal("fraction")
    if fraction is None:
        fraction = Decimal(1)
    if fraction > 1:
        fields.fault("too_large", "fraction", 'fraction is of what remains, at most "1"')
    needed = "request_id is required below a fraction of 1, so that a repeat closes once; make one up"
    request_id = fields.identifier("request_id", required=needed if fraction < 1 else "")
    fields.finish()
    return fraction, request_id or ""


def read_version(header: str | None) -> int | None:
    """The version in If-Match; None is any."""
    if header is None or header.strip() == "*":
        return None
    match = _VERSION.fullmatch(header.strip())
    if match is None:
        raise ApiError(
            422, "invalid_version", "If-Match must be the version of the position, such as 12", field="If-Match"
        )
    return int(match[1])


def read_amendment(body: dict[str, Any]) -> tuple[dict[str, Any], bool, bool]:
    """The plan of an amendment, `allow_looser_stop` and `act_now`. Raises ApiError with every fault."""
    own = ("allow_looser_stop", "act_now")
    fields = Fields({key: value for key, value in body.items() if key in own}, own)
    looser, act_now = fields.flag("allow_looser_stop"), fields.flag("act_now")
    plan = {key: value for key, value in body.items() if key not in own}
    faults: list[Fault] = list(fields.faults)
    try:
        parse_plan(plan, numbers=True)
    except PlanRefused as refusal:
        faults.extend(refusal.faults)
    if faults:
        raise refused(faults)
    return plan, looser, act_now


def _position(api: Api, published: Published, status: int, headers: Mapping[str, str] | None = None) -> Response:
    symbol = published.position.symbol if published.position else ""
    view = position_view(published, api.directory.quote(published.account, symbol))
    return answer(view, status, {"ETag": f'"{published.version}"', **(headers or {})})


def not_done(said: object) -> ApiError:
    """What the supervisor answered instead of what was asked for."""
    if isinstance(said, Refusal):
        return from_refusal(said)
    raise TypeError(f"the supervisor answered {type(said).__name__}")
