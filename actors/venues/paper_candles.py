"""One-minute candles of the prices that a paper exchange has played, durable with the cursor.

There is one series for each symbol: mark is last here, and `bid_ask` is that series less half the spread (the bid).
The newest 1,500 completed minutes are kept. A minute without a price has no candle.
"""

from dataclasses import replace
from decimal import Decimal

from actors.domain.model import Micros, Quote
from actors.venues.base import Candle
from actors.venues.paper_tables import MarketRow, PaperTables

MINUTE = 60_000_000
KEPT_MINUTES = 1500


def next_market(tables: PaperTables, symbol: str, before: MarketRow | None, cursor: str, quote: Quote) -> MarketRow:
    """The market row after a price; a minute that this price ends becomes a stored candle."""
    price = quote.last or quote.mark
    assert price is not None  # noqa: S101 - a played quote always has a price; mypy cannot know.
    if before is None:
        return MarketRow(cursor=cursor, quote=quote, open=price, high=price, low=price, first_at=quote.at)
    minute = before.quote.at - before.quote.at % MINUTE
    if quote.at < minute + MINUTE:
        return replace(before, cursor=cursor, quote=quote, high=max(before.high, price), low=min(before.low, price))
    tables.add_candle(symbol, minute, str(before.open), str(before.high), str(before.low), str(before.quote.last))
    tables.execute("DELETE FROM candles WHERE symbol = ? AND at <= ?", (symbol, minute - KEPT_MINUTES * MINUTE))
    return replace(before, cursor=cursor, quote=quote, open=price, high=price, low=price)


def read_candles(tables: PaperTables, symbol: str, since: Micros) -> tuple[tuple[Candle, ...], bool]:
    """The completed candles that began at or after `since`, and whether the record covers all of that time.

    The market stands still while no keeper runs, so nothing is missing but what was dropped for its age.
    """
    rows = tables.execute(
        "SELECT at, open, high, low, close FROM candles WHERE symbol = ? AND at >= ? ORDER BY at", (symbol, since)
    ).fetchall()
    candles = tuple(
        Candle(at=at, open=Decimal(first), high=Decimal(high), low=Decimal(low), close=Decimal(close))
        for at, first, high, low, close in rows
    )
    newest = tables.newest_candle(symbol)
    market = tables.market(symbol)
    if newest is None or market is None:
        return candles, True
    return candles, max(since, market.first_at) > newest - KEPT_MINUTES * MINUTE
