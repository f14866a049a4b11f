"""Reads requests: bounded bodies, JSON in which a number is either exact or refused, and no field that nobody knows.

An unknown field or parameter is refused because it may be a misspelt one: `preveiw=true` must not send an order.
"""

import json
import re
from collections.abc import Collection
from decimal import Decimal
from typing import Any, Final, NoReturn

from starlette.requests import ClientDisconnect, Request

from actors.domain.errors import Fault
from service.decimals import parse_decimal
from service.http_answers import ApiError, refused

MAX_BODY_BYTES: Final = 64 * 1024
# A body that is too large is read on to this size, so that its sender hears the answer and not a cut connection.
_DRAIN_BYTES: Final = 1024 * 1024
_MAX_DEPTH: Final = 32
IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class _Duplicate(ValueError):
    """A name that an object has twice."""


async def read_object(request: Request, *, exact: bool = False) -> dict[str, Any]:
    """The request's JSON object; an empty body is an empty object. Raises ApiError (400, 413, 422).

    `exact` reads numbers with a point as Decimal; without it they are floats, which are refused where a price is due.
    """
    raw = await _read_body(request)
    if not raw.strip():
        return {}
    number = Decimal if exact else float
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_constant, parse_float=number)
    except UnicodeDecodeError:
        raise ApiError(400, "malformed_json", "the body is not UTF-8 text; send JSON in UTF-8") from None
    except _Duplicate as error:
        raise ApiError(422, "duplicate_field", f"{error}; send it once", field=str(error).split(" ")[0]) from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "it holds a number that cannot be read"
        raise ApiError(400, "malformed_json", f"the body is not JSON: {reason}; correct it") from None
    if not isinstance(value, dict):
        raise ApiError(422, "not_an_object", 'the body must be a JSON object, such as {"symbol": "BTC/USDT:USDT"}')
    _check_tree(value)
    return value


async def _read_body(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size <= MAX_BODY_BYTES:
                chunks.append(chunk)
            elif size > _DRAIN_BYTES:
                break
    except ClientDisconnect:
        raise ApiError(400, "malformed_json", "the body ended too early; send it again") from None
    if size > MAX_BODY_BYTES:
        raise ApiError(413, "too_large", f"the body has more than {MAX_BODY_BYTES} bytes; send a smaller one")
    return b"".join(chunks)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, in which no name may stand twice: which of two quantities was meant?"""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _Duplicate(f"{ascii(key)[1:-1]:.60} is given twice")
        found[key] = value
    return found


def _constant(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is not a number in JSON", name, 0)


def _too_deep() -> ApiError:
    return ApiError(422, "too_deep", f"the body is nested deeper than {_MAX_DEPTH} levels; nothing here needs that")


def _check_tree(value: Any) -> None:
    """Refuse what later steps could not even name in an error: deep nesting and texts that are no Unicode."""
    level: list[Any] = [value]
    for _ in range(_MAX_DEPTH):
        following: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                following += [*item.keys(), *item.values()]
            elif isinstance(item, list):
                following += item
            elif isinstance(item, str) and _SURROGATE.search(item):
                raise ApiError(400, "malformed_json", "the body holds half a surrogate pair; send whole characters")
        if not following:
            return
        level = following
    raise _too_deep()


def check_query(request: Request, known: Collection[str]) -> None:
    """Refuse parameters that nobody knows or that are given twice."""
    seen: set[str] = set()
    for key, _ in request.query_params.multi_items():
        name = f"{key:.60}"
        if key not in known:
            options = f"known here: {', '.join(known)}" if known else "there are none here"
            raise ApiError(422, "unknown_parameter", f"{name!a} is not a parameter; {options}", field=name)
        if key in seen:
            raise ApiError(422, "duplicate_field", f"{name} is given twice; send it once", field=name)
        seen.add(key)


def flag_parameter(value: str | None, name: str) -> bool:
    """A true or false in the query."""
    if value in (None, "false", "0"):
        return False
    if value in ("true", "1"):
        return True
    raise ApiError(422, "not_a_boolean", f"{name} must be true or false", field=name)


class Fields:
    """Reads the fields of one object and collects every fault."""

    def __init__(self, body: dict[str, Any], known: Collection[str]) -> None:
        self.body = body
        self.faults: list[Fault] = []
        for key in body:
            if key not in known:
                shown = ascii(key)[1:-1][:60]
                self.fault("unknown_field", shown, f"{shown} is not a field; known here: {', '.join(known)}")

    def fault(self, code: str, field: str, message: str) -> None:
        """Remember one thing that is wrong."""
        self.faults.append(Fault(code, field, message))

    def finish(self) -> None:
        """Raise everything that was found."""
        if self.faults:
            raise refused(self.faults)

    def text(self, name: str, *, required: bool = False, most: int = 64) -> str | None:
        """A printable string that is not empty."""
        value = self.body.get(name)
        if value is None:
            if required:
                self.fault("missing", name, f"{name} is missing")
            return None
        if not isinstance(value, str) or not 1 <= len(value) <= most or not value.isprintable() or value.isspace():
            self.fault("not_a_string", name, f"{name} must be a printable string of 1 to {most} characters")
            return None
        return value

    def identifier(self, name: str, *, required: str = "") -> str | None:
        """A string of letters, digits, - and _; `required` says why, when it is."""
        value = self.body.get(name)
        if value is None:
            if required:
                self.fault("missing", name, required)
            return None
        if not isinstance(value, str) or not IDENTIFIER.fullmatch(value):
            self.fault("invalid_id", name, f"{name} must be 1 to 64 letters, digits, - and _")
            return None
        return value

    def choice(self, name: str, options: Collection[str], *, required: bool = False) -> str | None:
        """One of a few words."""
        value = self.body.get(name)
        if value is None and not required:
            return None
        if not isinstance(value, str) or value not in options:
            words = " or ".join(f'"{option}"' for option in options)
            self.fault("missing" if value is None else "not_a_choice", name, f"{name} must be {words}")
            return None
        return value

    def flag(self, name: str) -> bool:
        """A JSON true or false; false when absent."""
        value = self.body.get(name)
        if value is None or isinstance(value, bool):
            return bool(value)
        self.fault("not_a_boolean", name, f"{name} must be true or false")
        return False

    def decimal(self, name: str, *, required: bool = False, above_zero: bool = True) -> Decimal | None:
        """An exact number."""
        value = self.body.get(name)
        if value is None:
            if required:
                self.fault("missing", name, f'{name} is missing; send it as a string such as "0.01"')
            return None
        try:
            number = parse_decimal(value)
        except ValueError as error:
            self.fault("float" if isinstance(value, float) else "not_a_decimal", name, f"{name} {error}")
            return None
        if above_zero and number <= 0:
            self.fault("too_small", name, f"{name} must be above 0")
            return None
        return number
