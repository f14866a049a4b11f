"""OKX through ccxt passes the one contract, against a stand-in that checks what it is sent."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from actors.venues.ccxt.settings import CcxtSettings
from tests.contract.live_trader import trading
from tests.contract.standins.okx import KEY, PASSWORD, SECRET, OkxStandin
from tests.contract.venue_contract import ACCOUNT, Trader, VenueContract


def settings(endpoint: str, **changes: Any) -> CcxtSettings:
    """The account that the stand-in knows."""
    usual: dict[str, Any] = {
        "exchange": "okx",
        "account": ACCOUNT,
        "api_key": KEY,
        "secret": SECRET,
        "password": PASSWORD,
        "endpoint": endpoint,
        "retry_seconds": 0.2,
    }
    return CcxtSettings(**{**usual, **changes})


@contextmanager
def trading_at(standin: OkxStandin, **changes: Any) -> Iterator[Trader]:
    """A trader that has begun."""
    with trading(settings(standin.url, **changes)) as trader:
        trader.move_to = standin.market.move
        trader.begin()
        yield trader


@pytest.fixture
def standin() -> Iterator[OkxStandin]:
    """The exchange, which must not have stumbled over anything it was sent."""
    with OkxStandin() as found:
        yield found
    assert found.complaints == []


@pytest.fixture
def trader(standin: OkxStandin) -> Iterator[Trader]:
    """A trader on a fresh account."""
    with trading_at(standin) as found:
        yield found


class TestOkx(VenueContract):
    """The contract."""

    @pytest.fixture
    def trader(self, standin: OkxStandin) -> Iterator[Trader]:
        """A trader on a fresh account."""
        with trading_at(standin) as found:
            yield found
