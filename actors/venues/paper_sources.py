"""Opens the market that the settings describe, at the cursors that the ledger saved."""

from collections.abc import Mapping
from decimal import Decimal

from actors.domain.model import Instrument
from actors.venues.paper_market import Market, PriceSource
from actors.venues.paper_replay import ReplaySource
from actors.venues.paper_settings import PaperSettings, ReplaySettings, default_instrument, instruments_of
from actors.venues.paper_walk import WalkSource


def instruments_from(settings: PaperSettings) -> dict[str, Instrument]:
    """Every tradable symbol's instrument; the files' first rows are read on the way. Raises MarketDataError."""
    prices: dict[str, Decimal] = {}
    for symbol, market in settings.market.symbols.items():
        if isinstance(market, ReplaySettings):
            source = ReplaySource(symbol, market, default_instrument(symbol, Decimal(1)), cursor="")
            first = source.first_price()
            source.close()
            if first is not None:
                prices[symbol] = first
        else:
            prices[symbol] = market.price
    return instruments_of(settings, prices)


def open_market(settings: PaperSettings, instruments: Mapping[str, Instrument], cursors: Mapping[str, str]) -> Market:
    """The market at these cursors (a symbol without one begins). Raises MarketDataError."""
    sources: dict[str, PriceSource] = {}
    for symbol, market in settings.market.symbols.items():
        cursor = cursors.get(symbol, "")
        if isinstance(market, ReplaySettings):
            sources[symbol] = ReplaySource(symbol, market, instruments[symbol], cursor=cursor)
        else:
            sources[symbol] = WalkSource(
                symbol, market, instruments[symbol], cursor=cursor, follow_wall=settings.speed == 1.0
            )
    return Market(sources)
