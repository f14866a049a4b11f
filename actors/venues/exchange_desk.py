"""What the endpoints of the exchange server share: its clock, its core, its accounts and its instruments."""

import time
from collections.abc import Callable

from actors.domain.model import Instrument, Micros, Quote
from actors.venues.exchange_core import ServedExchange
from actors.venues.exchange_errors import BinanceError
from actors.venues.exchange_journal import ExchangeJournal
from actors.venues.exchange_reading import Reading
from actors.venues.exchange_requests import Request
from actors.venues.exchange_settings import ApiKey, ExchangeSettings, market_id

_NANOS_PER_MICRO = 1000


class ExchangeClock:
    """The exchange's time: the wall's, and whatever it is told to be wrong by."""

    def __init__(self) -> None:
        self.skew: Micros = 0

    def now(self) -> Micros:
        """Microseconds UTC."""
        return time.time_ns() // _NANOS_PER_MICRO + self.skew


class ExchangeDesk:
    """Everything that an endpoint needs."""

    def __init__(self, settings: ExchangeSettings) -> None:
        """Open the journal. Raises MarketDataError and LedgerError."""
        self.settings = settings
        self.clock = ExchangeClock()
        self.core = ServedExchange(settings)
        self.core.clock = self.clock.now
        self.reading = Reading(self.core)
        self.keys = {key.key: key for key in settings.keys}
        self.symbols = {market_id(symbol): symbol for symbol in self.core.instruments}
        # Called after whatever may have changed orders, positions or prices.
        self.changed: Callable[[], None] = lambda: None

    @property
    def journal(self) -> ExchangeJournal:
        """The exchange's journal."""
        return self.core.journal

    def account(self, key: str) -> ApiKey:
        """Whom a key belongs to. Raises BinanceError."""
        found = self.keys.get(key)
        if not key:
            raise BinanceError(-2014)
        if found is None or self.journal.wallet(found.account).revoked:
            raise BinanceError(-2015)
        return found

    def symbol(self, request: Request) -> str:
        """The symbol a request is about. Raises BinanceError."""
        return self.symbol_of(request.text("symbol"))

    def symbol_of(self, name: str) -> str:
        """Our name for one of Binance's. Raises BinanceError."""
        symbol = self.symbols.get(name)
        if symbol is None:
            raise BinanceError(-1121)
        return symbol

    def maybe_symbol(self, request: Request) -> str | None:
        """The symbol a request is about, if it is about one. Raises BinanceError."""
        return self.symbol(request) if request.parameters.get("symbol") else None

    def instrument(self, symbol: str) -> Instrument:
        """What is allowed for a symbol."""
        return self.core.instruments[symbol]

    def quote(self, symbol: str) -> Quote:
        """The latest price. Raises BinanceError while there is none."""
        quote = self.core.quote(symbol)
        if quote is None:
            raise BinanceError(-1000, message="There is no price yet.", status=503)
        return quote

    def close(self) -> None:
        """Close the journal."""
        self.core.close()
