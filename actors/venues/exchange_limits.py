"""Binance's rate limits: request weight by address, orders by account, and a ban for whoever does not heed them."""

from dataclasses import dataclass, field

from actors.domain.model import Micros
from actors.venues.exchange_errors import BinanceError
from actors.venues.exchange_requests import Endpoint
from actors.venues.exchange_settings import RateLimits

_SECOND: Micros = 1_000_000
_MINUTE: Micros = 60 * _SECOND
_TEN_SECONDS: Micros = 10 * _SECOND


class TooMany(BinanceError):
    """Refused for its number. `retry_after` is in whole seconds."""

    def __init__(self, error: BinanceError, retry_after: int) -> None:
        super().__init__(error.code, message=error.message, status=error.status)
        self.retry_after = retry_after


@dataclass(slots=True)
class _Window:
    """What was counted since the beginning of the present interval."""

    length: Micros
    began: Micros = 0
    used: int = 0

    def add(self, now: Micros, amount: int) -> int:
        """Count, and tell the sum."""
        began = now - now % self.length
        if began != self.began:
            self.began, self.used = began, 0
        self.used += amount
        return self.used

    def seconds_left(self, now: Micros) -> int:
        """Until the interval ends."""
        return max(1, -(-(self.began + self.length - now) // _SECOND))


@dataclass(slots=True)
class _Address:
    weight: _Window = field(default_factory=lambda: _Window(_MINUTE))
    refused: _Window = field(default_factory=lambda: _Window(_MINUTE))
    banned_until: Micros = 0


@dataclass(slots=True)
class _Account:
    ten_seconds: _Window = field(default_factory=lambda: _Window(_TEN_SECONDS))
    minute: _Window = field(default_factory=lambda: _Window(_MINUTE))


class Meter:
    """Counts requests and orders. Every answer tells what has been used."""

    def __init__(self, rates: RateLimits) -> None:
        self._rates = rates
        self._addresses: dict[str, _Address] = {}
        self._accounts: dict[str, _Account] = {}

    def count(self, address: str, endpoint: Endpoint, now: Micros) -> dict[str, str]:
        """Count a request by its weight; the headers that tell so. Raises TooMany."""
        found = self._addresses.setdefault(address, _Address())
        used = found.weight.add(now, endpoint.weight)
        headers = {"X-MBX-USED-WEIGHT-1M": str(used)}
        if now < found.banned_until:
            until = found.banned_until // 1000
            message = f"Way too many requests; IP banned until {until}. Please use the websocket for live updates."
            wait = -(-(found.banned_until - now) // _SECOND)
            raise TooMany(BinanceError(-1003, message=message, status=418), wait)
        if used > self._rates.weight_per_minute:
            if found.refused.add(now, 1) > self._rates.patience:
                found.banned_until = now + int(self._rates.ban_seconds * _SECOND)
            raise TooMany(BinanceError(-1003, self._rates.weight_per_minute), found.weight.seconds_left(now))
        return headers

    def count_orders(self, account: str, endpoint: Endpoint, now: Micros) -> dict[str, str]:
        """Count an account's orders; the headers that tell so. Raises TooMany."""
        if not endpoint.orders:
            return {}
        found = self._accounts.setdefault(account, _Account())
        short, long = found.ten_seconds.add(now, endpoint.orders), found.minute.add(now, endpoint.orders)
        if short > self._rates.orders_per_ten_seconds:
            limit = f"{self._rates.orders_per_ten_seconds} orders per 10 SECOND"
            raise TooMany(BinanceError(-1015, limit), found.ten_seconds.seconds_left(now))
        if long > self._rates.orders_per_minute:
            limit = f"{self._rates.orders_per_minute} orders per 1 MINUTE"
            raise TooMany(BinanceError(-1015, limit), found.minute.seconds_left(now))
        return {"X-MBX-ORDER-COUNT-10S": str(short), "X-MBX-ORDER-COUNT-1M": str(long)}
