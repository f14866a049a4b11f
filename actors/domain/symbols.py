"""Symbols as other people write them: TradingView's `BINANCE:BTCUSDT.P` is our `BTC/USDT:USDT`."""

from collections.abc import Iterable


def matching(text: str, symbols: Iterable[str]) -> list[str]:
    """The symbols that are meant, none or several where it is not clear; `text` is ccxt's spelling or TradingView's.

    A chart's exchange is not looked at: many trade on one what they watch on another.
    """
    known = list(symbols)
    if "/" in text:
        return [symbol for symbol in known if symbol == text]
    name = text.rpartition(":")[2].upper().removesuffix(".P")
    return [symbol for symbol in known if name and _joined(symbol) == name]


def _joined(symbol: str) -> str:
    """Base and quote in one word. What expires has a date behind its settlement, and is never meant."""
    pair, _, settlement = symbol.partition(":")
    return "" if "-" in settlement else pair.replace("/", "").upper()
