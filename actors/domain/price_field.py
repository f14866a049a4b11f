"""Everything that waits for one field of a quote (mark, last, bid or ask), and its tape.

Prices between `low` and `high`, neither included, change nothing here: that one comparison is the cost of a tick.
"""

from decimal import Decimal

from actors.domain.model import Micros, Side
from actors.domain.price_levels import INFINITE, MINUS_INFINITE, Hits, Levels
from actors.domain.tape import Tape
from actors.domain.trail_groups import Trails


class Field:
    """The levels, trails and tape of one field of a symbol's quotes."""

    __slots__ = ("_down", "_long", "_short", "_up", "high", "low", "tape")

    def __init__(self) -> None:
        self.tape = Tape()
        self._up = Levels(upward=True)
        self._down = Levels(upward=False)
        self._long = Trails(Side.LONG)
        self._short = Trails(Side.SHORT)
        self.look()

    def better(self, side: Side) -> Levels:
        """The levels above the price for a long, below it for a short."""
        return self._up if side is Side.LONG else self._down

    def worse(self, side: Side) -> Levels:
        """The levels below the price for a long, above it for a short."""
        return self._down if side is Side.LONG else self._up

    def trails(self, side: Side) -> Trails:
        """The armed trails of this side."""
        return self._long if side is Side.LONG else self._short

    def look(self) -> None:
        """Look at the next price, whatever it is: something was registered, or a point handed out."""
        self.low, self.high = INFINITE, MINUS_INFINITE

    def take(self, price: Decimal, at: Micros, sequence: int, hits: Hits) -> None:
        """Take in a price that is not between `low` and `high`; add to `hits` whom it wakes."""
        up, down, long, short = self._up, self._down, self._long, self._short
        low, high = self.tape.push(price, at, sequence)
        # First the new peaks: with no distance to it, a price can cross the stop that it has just moved.
        if price > long.peak:
            long.rise(price)
        if price < short.peak:
            short.rise(price)
        if price <= long.stop:
            long.fall(price, hits)
        if price >= short.stop:
            short.fall(price, hits)
        if price >= up.nearest:
            up.due(price, hits)
        if price <= down.nearest:
            down.due(price, hits)
        self.low = max(low, down.nearest, long.stop, short.peak)
        self.high = min(high, up.nearest, short.stop, long.peak)
