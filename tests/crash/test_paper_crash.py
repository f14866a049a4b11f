"""kill -9 of a process at work on the paper exchange: its ledger and its cursor go on exactly."""

import os
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from actors.domain.model import OrderKind, OrderSide, Source
from actors.venues.base import OrderRequest
from actors.venues.paper_ledger import PaperExchange
from actors.venues.paper_settings import MarketSettings, PaperSettings, WalkSettings
from actors.venues.paper_sources import open_market

ROOT = Path(__file__).resolve().parents[2]
SYMBOL = "BTC/USDT:USDT"
STEPS = 300


def exchange_in(folder: Path) -> PaperExchange:
    """The exchange under test: a wild walk, so that stops trigger often."""
    walk = WalkSettings(price=Decimal(60000), volatility=Decimal(20), start=0)
    return PaperExchange(PaperSettings(path=folder / "paper.db", market=MarketSettings(symbols={SYMBOL: walk})))


def work(folder: Path, steps: int, *, aloud: bool = False) -> None:
    """Trade by a rule that looks only at the ledger: when flat, buy and rest a stop below; play on to a step.

    Each decision's client id carries the step, and is looked up before it is sent: so a rerun never repeats one.
    """
    exchange = exchange_in(folder)
    market = open_market(exchange.settings, exchange.instruments, exchange.cursors())
    while True:
        tick = market.peek(0)
        assert tick is not None
        quote = exchange.quote(SYMBOL)
        if quote is not None and quote.bid is not None:
            name = str(quote.at)
            read = exchange.read_account("main", SYMBOL, 0)
            if read.position is None and exchange.look_up("main", SYMBOL, name, OrderKind.MARKET).order is None:
                send(exchange, name, OrderKind.MARKET, OrderSide.BUY)
                read = exchange.read_account("main", SYMBOL, 0)
            if read.position is not None and not read.orders:
                send(exchange, name, OrderKind.STOP_MARKET, OrderSide.SELL, quote.bid - 20)
            if quote.at >= steps * 1_000_000:
                return
        exchange.step(tick)
        market.advance(tick)
        if aloud:
            print(tick.cursor, flush=True)


def send(
    exchange: PaperExchange, name: str, kind: OrderKind, side: OrderSide, trigger_price: Decimal | None = None
) -> None:
    """Send one order."""
    request = OrderRequest(
        request_id=name,
        account="main",
        symbol=SYMBOL,
        client_order_id=name,
        kind=kind,
        side=side,
        quantity=Decimal("0.01"),
        reduce_only=kind is OrderKind.STOP_MARKET,
        signed_at=0,
        expires_after_seconds=5,
        trigger_price=trigger_price,
    )
    exchange.submit(request, 0)


def told(folder: Path) -> tuple[object, ...]:
    """All that the ledger says."""
    exchange = exchange_in(folder)
    return exchange.read_account("main", SYMBOL, 0), exchange.cursors(), exchange.candles(SYMBOL, Source.MARK, 0)


@pytest.mark.parametrize("lines", [1, 17, 60, 120])
def test_a_killed_exchange_goes_on_exactly(tmp_path: Path, lines: int) -> None:
    """Killed again and again, it ends with the very trades, orders and prices of a run that was never killed."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    work(whole, STEPS)
    code = (
        "from pathlib import Path; from tests.crash.test_paper_crash import work; "
        f"work(Path({str(killed)!r}), {STEPS}, aloud=True)"
    )
    kills = 0
    while True:
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        heard = [line for line, _ in zip(process.stdout, range(lines), strict=False)]
        if len(heard) < lines:
            assert process.wait() == 0
            process.stdout.close()
            break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        kills += 1
        if kills == 4:
            work(killed, STEPS)
            break
    assert kills > 0
    assert told(killed) == told(whole)
