"""Binance USDM through ccxt passes the one contract, against the paper exchange server that speaks its dialect."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors.venues.ccxt.settings import CcxtSettings
from actors.venues.exchange_server import ExchangeServer
from tests.contract.live_trader import trading
from tests.contract.venue_contract import SYMBOL, Trader, VenueContract
from tests.exchange_world import KEY, control, running_exchange


def settings(endpoint: str, **changes: Any) -> CcxtSettings:
    """The account that the server knows as `main`."""
    usual: dict[str, Any] = {
        "exchange": "binanceusdm",
        "account": KEY.account,
        "api_key": KEY.key,
        "secret": KEY.secret,
        "endpoint": endpoint,
        "retry_seconds": 0.2,
    }
    return CcxtSettings(**{**usual, **changes})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ExchangeServer]:
    """A paper exchange whose prices stand still until they are pushed."""
    with running_exchange(tmp_path) as found:
        yield found


class TestBinanceUsdm(VenueContract):
    """The contract."""

    @pytest.fixture
    def trader(self, server: ExchangeServer) -> Iterator[Trader]:
        """A trader on a fresh account."""
        with trading(settings(server.endpoint)) as found:
            found.move_to = lambda price: move(server, price)
            found.begin()
            yield found


def move(server: ExchangeServer, price: Decimal) -> None:
    """Let every price be this one."""
    control(server.endpoint, "price", {"symbol": SYMBOL, "price": str(price)})
