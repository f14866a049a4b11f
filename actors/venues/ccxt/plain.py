"""Small things that several exchanges' files need: times, numbers as they are sent, candles page by page."""

import re
import time
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any, Final

from actors.domain.events import Trade
from actors.domain.model import ZERO, Micros
from actors.venues.base import Candle, VenueOrder
from actors.venues.ccxt.dialect import number
from actors.venues.ccxt.errors import NoAnswer

MILLISECOND: Final = 1000
MINUTE: Final = 60_000_000
DAY: Final = 1440 * MINUTE
MAXIMUM_CANDLES: Final = 20_000
OUR_ID: Final = re.compile(r"[0-9a-f]{32}")


def milliseconds(at: Micros) -> int:
    """A time as exchanges write it, never later than it was."""
    return at // MILLISECOND


def decimal_text(value: Decimal) -> str:
    """A number as it is sent: plain digits, no exponent, no zeros at its end."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def or_none(value: Any) -> Decimal | None:
    """A price; None where there is none, which exchanges write as nothing, as an empty text or as zero."""
    found = number(value) if value not in (None, "") else None
    return found if found else None


def filled_by(trades: Sequence[Trade]) -> Decimal:
    """What these trades come to."""
    return sum((trade.quantity for trade in trades), ZERO)


def explained(order: VenueOrder) -> VenueOrder:
    """The order, whose trades must explain its fill; NoAnswer where they do not yet."""
    if filled_by(order.trades) != order.filled:
        raise NoAnswer(f"the trades of {order.client_order_id or order.venue_order_id} do not explain its fill yet")
    return order


def ours(client_order_id: str | None) -> bool:
    """Whether an id looks like a keeper's."""
    return OUR_ID.fullmatch(client_order_id or "") is not None


class Marks:
    """When each symbol's mark was last told. It moves all the time: one that is not told while others are has lost its
    subscription.
    """

    def __init__(self, bound_seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        """One may be silent for `bound_seconds`."""
        self._bound_seconds = bound_seconds
        self._monotonic = monotonic
        self._heard: dict[str, float] = {}

    def subscribed(self, symbols: Sequence[str]) -> None:
        """From now on these are to be told."""
        self._heard.update(dict.fromkeys(symbols, self._monotonic()))

    def told(self, symbol: str) -> str:
        """One was told; what is wrong with another, "" when nothing is."""
        now = self._heard[symbol] = self._monotonic()
        other = min(self._heard, key=lambda name: self._heard[name])
        silent = now - self._heard[other]
        return f"the mark of {other} was not told for {silent:.0f} s" if silent > self._bound_seconds else ""


async def candles_of(
    page: Callable[[int, int], Awaitable[Sequence[Sequence[Any]]]], *, since: Micros, now: Micros, rows: int
) -> tuple[Sequence[Candle], bool]:
    """Completed minutes that began at or after `since`, asked for `rows` at a time, and whether none is missing.

    `page` answers the candles that begin from one time to another, both included, in milliseconds.
    """
    first = -(-since // MINUTE) * MINUTE
    last = now // MINUTE * MINUTE - MINUTE
    start = earliest = max(first, last - (MAXIMUM_CANDLES - 1) * MINUTE)
    found: dict[Micros, Candle] = {}
    while start <= last:
        end = min(start + (rows - 1) * MINUTE, last)
        for row in await page(milliseconds(start), milliseconds(end)):
            at = int(row[0]) * MILLISECOND
            if earliest <= at <= last:
                prices = [number(price) for price in row[1:5]]
                found[at] = Candle(at=at, open=prices[0], high=prices[1], low=prices[2], close=prices[3])
        start = end + MINUTE
    wanted = max(0, (last - earliest) // MINUTE + 1)
    return tuple(found[at] for at in sorted(found)), earliest == first and len(found) == wanted
