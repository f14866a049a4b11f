"""One quote per symbol out of several streams. What has not been heard for long is not repeated as if it were fresh."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from actors.domain.model import Micros, Quote


@dataclass(slots=True)
class _Prices:
    at: Micros = 0
    values: dict[str, Decimal] = field(default_factory=dict)
    heard: dict[str, float] = field(default_factory=dict)


class Quotes:
    """The latest prices of the symbols of one account."""

    def __init__(self, bound_seconds: float, monotonic: Callable[[], float]) -> None:
        """Mark, bid or ask not heard for `bound_seconds` are None in the quotes that others bring about.

        The last trade stays the last trade however long ago it was.
        """
        self._bound_seconds = bound_seconds
        self._monotonic = monotonic
        self._symbols: dict[str, _Prices] = {}

    def update(self, symbol: str, at: Micros, sources: dict[str, Decimal | None]) -> Quote:
        """Take in what one message says, and give the quote it makes. Its time never goes back."""
        prices = self._symbols.setdefault(symbol, _Prices())
        now = self._monotonic()
        prices.at = max(prices.at, at)
        for source, price in sources.items():
            if price is None:
                prices.values.pop(source, None)
            else:
                prices.values[source] = price
                prices.heard[source] = now
        return Quote(
            at=prices.at,
            mark=self._fresh(prices, "mark", now),
            last=prices.values.get("last"),
            bid=self._fresh(prices, "bid", now),
            ask=self._fresh(prices, "ask", now),
        )

    def _fresh(self, prices: _Prices, source: str, now: float) -> Decimal | None:
        heard = prices.heard.get(source, float("-inf"))
        return prices.values.get(source) if now - heard <= self._bound_seconds else None

    def unheard(self, symbol: str) -> bool:
        """Whether nothing was told of this symbol yet."""
        return symbol not in self._symbols

    def forget(self) -> None:
        """The streams broke: what was heard before says nothing about the present."""
        for prices in self._symbols.values():
            prices.values.clear()
