"""Hyperliquid through ccxt passes the one contract, against a stand-in that checks what it is sent.

It takes no id but `0x` and 32 hex digits, and settles in USDC: names of the contract are translated on both ways.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from hashlib import blake2b
from typing import Any

import pytest

from actors.runtime.base import Runtime
from actors.venues.base import Venue
from actors.venues.ccxt.settings import CcxtSettings
from tests.contract.live_trader import trading
from tests.contract.standins.hyperliquid import PRIVATE_KEY, HyperliquidStandin
from tests.contract.venue_contract import ACCOUNT, SYMBOL, Listener, Trader, VenueContract

NATIVE = "BTC/USDC:USDC"


def hexed(name: str) -> str:
    """An id as the keeper makes them: 32 hex digits."""
    return blake2b(name.encode(), digest_size=16).hexdigest()


class Names:
    """The names of the contract, and what stands for them at the exchange."""

    def __init__(self) -> None:
        self._plain = {NATIVE: SYMBOL}

    def outward(self, request: Any) -> Any:
        """A request as the exchange takes it."""
        changes: dict[str, Any] = {"symbol": NATIVE if request.symbol == SYMBOL else request.symbol}
        # A foreign order is named by the exchange's own number.
        if hasattr(request, "client_order_id") and not request.client_order_id.isdecimal():
            changes["client_order_id"] = hexed(request.client_order_id)
            self._plain[changes["client_order_id"]] = request.client_order_id
        return replace(request, **changes)

    def inward(self, value: Any) -> Any:
        """What the venue tells, in the contract's names."""
        if isinstance(value, str):
            return self._plain.get(value, value)
        if isinstance(value, tuple):
            return tuple(self.inward(item) for item in value)
        if is_dataclass(value) and not isinstance(value, type):
            changed = {field.name: self.inward(getattr(value, field.name)) for field in fields(value) if field.init}
            return replace(value, **changed)
        return value


class Heard(list[Any]):
    """What was heard, translated."""

    def __init__(self, names: Names) -> None:
        super().__init__()
        self._names = names

    def append(self, message: Any) -> None:
        """Note it."""
        super().append(self._names.inward(message))


class Translated:
    """A venue that is spoken to in the contract's names."""

    def __init__(self, venue: Venue, names: Names) -> None:
        self._venue = venue
        self._names = names

    def __getattr__(self, name: str) -> Any:
        return getattr(self._venue, name)

    def instruments(self) -> Any:
        """Translated."""
        return self._names.inward(tuple(self._venue.instruments()))

    def watch(self, symbol: str) -> None:
        """Translated."""
        self._venue.watch(NATIVE if symbol == SYMBOL else symbol)

    def submit(self, request: Any) -> None:
        """Translated."""
        self._venue.submit(self._names.outward(request))

    def cancel(self, request: Any) -> None:
        """Translated."""
        self._venue.cancel(self._names.outward(request))

    def look_up(self, request: Any) -> None:
        """Translated."""
        self._venue.look_up(self._names.outward(request))

    def read_account(self, request: Any) -> None:
        """Translated."""
        self._venue.read_account(self._names.outward(request))

    def read_candles(self, request: Any) -> None:
        """Translated."""
        self._venue.read_candles(self._names.outward(request))


class HexTrader(Trader):
    """A trader whose names are translated."""

    def __init__(self, venue: Venue, runtime: Runtime, until: Any) -> None:
        names = Names()
        super().__init__(Translated(venue, names), runtime, until)
        runtime.stop(self.listener, 5)
        self.heard = Heard(names)
        self.listener = runtime.spawn(Listener, self.heard)


def settings(standin: HyperliquidStandin, **changes: Any) -> CcxtSettings:
    """The account that the stand-in knows."""
    usual: dict[str, Any] = {
        "exchange": "hyperliquid",
        "account": ACCOUNT,
        "wallet_address": standin.wallet,
        "private_key": PRIVATE_KEY,
        "endpoint": standin.url,
        "retry_seconds": 0.2,
    }
    return CcxtSettings(**{**usual, **changes})


@contextmanager
def trading_at(standin: HyperliquidStandin, **changes: Any) -> Iterator[Trader]:
    """A trader that has begun."""
    with trading(settings(standin, **changes), HexTrader) as trader:
        trader.move_to = standin.market.move
        trader.begin()
        yield trader


@pytest.fixture
def standin() -> Iterator[HyperliquidStandin]:
    """The exchange, which must not have stumbled over anything it was sent."""
    with HyperliquidStandin() as found:
        yield found
    assert found.complaints == []


@pytest.fixture
def trader(standin: HyperliquidStandin) -> Iterator[Trader]:
    """A trader on a fresh account."""
    with trading_at(standin) as found:
        yield found


class TestHyperliquid(VenueContract):
    """The contract."""

    @pytest.fixture
    def trader(self, standin: HyperliquidStandin) -> Iterator[Trader]:
        """A trader on a fresh account."""
        with trading_at(standin) as found:
            yield found
