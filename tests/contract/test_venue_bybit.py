"""Bybit through ccxt passes the one contract, against a stand-in that checks what it is sent."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from actors.venues.ccxt.settings import CcxtSettings
from tests.contract.live_trader import trading
from tests.contract.standins.bybit import KEY, SECRET, BybitStandin
from tests.contract.venue_contract import ACCOUNT, Trader, VenueContract


def settings(endpoint: str, **changes: Any) -> CcxtSettings:
    """The account that the stand-in knows."""
    usual: dict[str, Any] = {
        "exchange": "bybit",
        "account": ACCOUNT,
        "api_key": KEY,
        "secret": SECRET,
        "endpoint": endpoint,
        "retry_seconds": 0.2,
    }
    return CcxtSettings(**{**usual, **changes})


@contextmanager
def trading_at(standin: BybitStandin, **changes: Any) -> Iterator[Trader]:
    """A trader that has begun."""
    with trading(settings(standin.url, **changes)) as trader:
        trader.move_to = standin.market.move
        trader.begin()
        yield trader


@pytest.fixture
def standin() -> Iterator[BybitStandin]:
    """The exchange, which must not have stumbled over anything it was sent."""
    with BybitStandin() as found:
        yield found
    assert found.complaints == []


@pytest.fixture
def trader(standin: BybitStandin) -> Iterator[Trader]:
    """A trader on a fresh account."""
    with trading_at(standin) as found:
        yield found


class TestBybit(VenueContract):
    """The contract."""

    @pytest.fixture
    def trader(self, standin: BybitStandin) -> Iterator[Trader]:
        """A trader on a fresh account."""
        with trading_at(standin) as found:
            yield found
