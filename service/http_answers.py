"""How the API answers: JSON by orjson, and one shape for every error.

`{"error": {"code", "message", "field"?}}`, with `faults` beside it where several things are wrong at once. The status
says what may be concluded: 4xx and 503 are definitely not accepted, 504 is unknown.
"""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from actors.domain.errors import Fault
from actors.messages import Refusal
from service.decimals import plain
from service.logs import redaction

STATUS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("id_taken", "slot_taken", "closing", "unmanaged_position", "foreign_exit_orders"), 409),
    "quarantined": 409,
    "stale_version": 412,
    "not_found": 404,
    **dict.fromkeys(("not_ready", "not_owner", "storage"), 503),
    "unknown": 504,
}
RETRY_AFTER_SECONDS: Final = 2
_HTTP_CODES: Final[Mapping[int, str]] = {404: "not_found", 405: "method_not_allowed"}


class ApiError(Exception):
    """A request that is answered with an error."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        field: str = "",
        faults: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        self.faults = tuple(faults)
        self.headers = dict(headers or {})


def refused(faults: Sequence[Fault]) -> ApiError:
    """422 for what is wrong, field by field; the first fault stands for all."""
    first = faults[0]
    return ApiError(422, first.code, first.message, field=first.field, faults=faults if len(faults) > 1 else ())


def from_refusal(refusal: Refusal) -> ApiError:
    """What the actors refused, with the status that says the same."""
    status = STATUS.get(refusal.code, 422)
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else {}
    faults = refusal.faults if len(refusal.faults) > 1 else ()
    return ApiError(status, refusal.code, refusal.message, field=refusal.field, faults=faults, headers=headers)


def unavailable(code: str, message: str) -> ApiError:
    """503: definitely not accepted, worth trying again."""
    return ApiError(503, code, message, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    try:
        content = orjson.dumps(body, default=_default, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        # orjson refuses lone surrogates and integers over 64 bits; the standard library writes both.
        content = json.dumps(body, default=_default).encode("ascii")
    return Response(content, status, dict(headers or {}), "application/json")


def error_answer(error: ApiError) -> Response:
    """An error as JSON. Secrets are taken out here too, whatever it was that went wrong."""
    body: dict[str, Any] = {"error": _error(error.code, error.message, error.field)}
    if error.faults:
        body["faults"] = [_error(fault.code, fault.message, fault.field) for fault in error.faults]
    return answer(body, error.status, error.headers)


async def on_api_error(_request: Request, error: Exception) -> Response:
    """The handler of ApiError."""
    if not isinstance(error, ApiError):
        raise error
    return error_answer(error)


async def on_http_error(request: Request, error: Exception) -> Response:
    """The handler of what the framework refuses: unknown paths and methods."""
    status = getattr(error, "status_code", 500)
    code = _HTTP_CODES.get(status, "bad_request")
    if status == 404:
        message = "there is nothing at this path; the API is described at /docs"
    elif status == 405:
        message = f"{request.method} is not possible here; the API is described at /docs"
    else:
        message = str(getattr(error, "detail", "the request cannot be read"))
    return error_answer(ApiError(status, code, message, headers=getattr(error, "headers", None)))


def _error(code: str, message: str, field: str) -> dict[str, str]:
    body = {"code": code, "message": redaction.text(message)}
    if field:
        body["field"] = redaction.text(field)
    return body


def _default(value: Any) -> Any:
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    return str(value)
