"""One request to the exchange server: its parameters, who sent it, and whether it may be believed.

Keys, signatures and times are checked as Binance does: HMAC SHA256 of query and body, `timestamp` no older than
`recvWindow` and no more than a second ahead.
"""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any, Final
from urllib.parse import parse_qsl

from actors.domain.model import Micros
from actors.venues.exchange_errors import BinanceError

_DEFAULT_WINDOW: Final = 5000
_LONGEST_WINDOW: Final = 60_000
_AHEAD: Final = 1000
_MICROS_PER_MILLISECOND: Final = 1000


class Security(Enum):
    """What a request needs: nothing, a key, or a key, a timestamp and a signature."""

    NONE = "none"
    KEY = "key"
    SIGNED = "signed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, believed. `account` is "" where no key is asked for; `now` is the exchange's time."""

    method: str
    path: str
    parameters: Mapping[str, str]
    account: str
    now: Micros

    def text(self, name: str, default: str | None = None) -> str:
        """A parameter. Without a default it is mandatory. Raises BinanceError."""
        value = self.parameters.get(name, "")
        if value:
            return value
        if default is None:
            raise BinanceError(-1102, name)
        return default

    def number(self, name: str) -> Decimal:
        """A mandatory decimal. Raises BinanceError."""
        try:
            value = Decimal(self.text(name))
        except InvalidOperation:
            raise BinanceError(-1102, name) from None
        if not value.is_finite():
            raise BinanceError(-1102, name)
        return value

    def integer(self, name: str, default: int | None = None) -> int | None:
        """An integer, if it is given. Raises BinanceError."""
        value = self.parameters.get(name, "")
        if not value:
            return default
        try:
            return int(value)
        except ValueError:
            raise BinanceError(-1102, name) from None

    def limit(self, default: int, most: int) -> int:
        """How many rows are asked for. Raises BinanceError."""
        wanted = self.integer("limit", default) or default
        if not 0 < wanted <= most:
            raise BinanceError(-1130, message=f"Data sent for parameter 'limit' is not valid: at most {most}.")
        return wanted

    def truth(self, name: str) -> bool:
        """A parameter that is `true` or `false`. Raises BinanceError."""
        value = self.parameters.get(name, "false").lower()
        if value not in ("true", "false"):
            raise BinanceError(-1102, name)
        return value == "true"

    def time(self, name: str) -> Micros | None:
        """A time in milliseconds, if it is given. Raises BinanceError."""
        value = self.integer(name)
        return None if value is None else value * _MICROS_PER_MILLISECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """How one path and method is answered. `orders` count against the limit of orders; `changes` are journaled."""

    handle: Callable[[Request], Any]
    security: Security = Security.NONE
    weight: int = 1
    orders: int = 0
    changes: bool = False


Routes = Mapping[tuple[str, str], Endpoint]


def parameters_of(query: str, body: str) -> dict[str, str]:
    """All parameters, wherever they were sent."""
    return dict(parse_qsl(query, keep_blank_values=True)) | dict(parse_qsl(body, keep_blank_values=True))


def check_signature(query: str, body: str, parameters: Mapping[str, str], secret: str) -> None:
    """Raises BinanceError unless query and body, put together without the signature, are signed with this secret."""
    payload = _without_signature(query) + _without_signature(body)
    expected = hmac.new(secret.encode(), payload.encode(), "sha256").hexdigest()
    if not hmac.compare_digest(expected, parameters.get("signature", "").lower()):
        raise BinanceError(-1022)


def check_time(parameters: Mapping[str, str], now: Micros) -> None:
    """Raises BinanceError for a request that is too old, or of the future."""
    try:
        sent = int(parameters["timestamp"])
        window = int(parameters.get("recvWindow") or _DEFAULT_WINDOW)
    except (KeyError, ValueError):
        raise BinanceError(-1102, "timestamp") from None
    if not 0 < window <= _LONGEST_WINDOW:
        raise BinanceError(-1131, message="recvWindow must be less than 60000")
    here = now // _MICROS_PER_MILLISECOND
    if sent > here + _AHEAD:
        raise BinanceError(-1021, message="Timestamp for this request was 1000ms ahead of the server's time.")
    if here - sent > window:
        raise BinanceError(-1021)


def _without_signature(sent: str) -> str:
    return "&".join(part for part in sent.split("&") if part and not part.startswith("signature="))
