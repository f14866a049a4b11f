"""Which exchanges there are. Each name is ccxt's; its module is imported when an account asks for it."""

from importlib import import_module

from actors.venues.ccxt.dialect import Dialect

DIALECTS = {
    "binanceusdm": "actors.venues.ccxt.binanceusdm:BinanceUsdm",
    "bybit": "actors.venues.ccxt.bybit:Bybit",
    "hyperliquid": "actors.venues.ccxt.hyperliquid:Hyperliquid",
    "okx": "actors.venues.ccxt.okx:Okx",
}


def dialect_of(exchange: str) -> type[Dialect]:
    """The class that knows this exchange; KeyError for one that nobody wrote."""
    module, _, name = DIALECTS[exchange].partition(":")
    found: type[Dialect] = getattr(import_module(module), name)
    return found
