"""A seeded random walk: step n of a symbol has a random number generator of its own.

So the walk goes on exactly after a restart: the cursor holds the number of the step, its time and the price before
rounding, and nothing else is remembered.
"""

import json
import math
from decimal import Context, Decimal
from itertools import pairwise
from random import Random

from actors.domain.model import HUNDRED, Instrument, Micros
from actors.venues.paper_market import MarketDataError, Tick, quote_of, rounded_to_tick
from actors.venues.paper_settings import WalkSettings

_YEAR_SECONDS = 365 * 24 * 3600
_SECOND = 1_000_000

# The raw price is kept unrounded, or a walk whose steps are smaller than half a tick would never leave its place.
_RAW = Context(prec=18)


class WalkSource:
    """One symbol's random walk, straight through its waypoints first where it has some."""

    def __init__(
        self, symbol: str, settings: WalkSettings, instrument: Instrument, *, cursor: str, follow_wall: bool
    ) -> None:
        """`follow_wall`: a tick is never before wall time (speed 1x), so that a standstill leaves a gap, not a lag."""
        self._symbol = symbol
        self._settings = settings
        self._instrument = instrument
        self._follow_wall = follow_wall and settings.start is None
        self._interval = int(settings.interval_seconds * _SECOND)
        seconds = float(settings.interval_seconds)
        volatility = float(settings.volatility)
        self._sigma = volatility * math.sqrt(seconds / _YEAR_SECONDS)
        self._mean = (float(settings.drift) - volatility * volatility / 2) * seconds / _YEAR_SECONDS
        self._cursor = ""
        self._step = -1
        self._at: Micros | None = None
        self._raw = settings.price
        self._next_raw: Decimal | None = None
        if cursor:
            self._go_to(cursor)

    def peek(self, now: Micros) -> Tick | None:
        """The next step of the walk; there always is one."""
        if self._at is None:
            at = now if self._settings.start is None else self._settings.start
        else:
            at = self._at + self._interval
            if self._follow_wall:
                at = max(at, now)
        if self._next_raw is None:
            self._next_raw = self._raw_price(self._step + 1)
        raw = self._next_raw
        price = rounded_to_tick(raw, self._instrument)
        return Tick(
            symbol=self._symbol,
            quote=quote_of(at, price, self._settings.spread_percent, self._instrument.tick_size),
            previous=self._cursor,
            cursor=f'["walk",{self._step + 1},{at},"{raw}"]',
            live=self._follow_wall,
        )

    def advance(self, tick: Tick) -> None:
        """The step was played."""
        self._go_to(tick.cursor)

    def close(self) -> None:
        """Nothing is open."""

    def _go_to(self, cursor: str) -> None:
        kind, *rest = json.loads(cursor)
        if kind != "walk":
            message = (
                f"{self._symbol}: the paper exchange has been replaying a file and is now told to walk at random; "
                "name the file again, or begin anew by moving the exchange's ledger away"
            )
            raise MarketDataError(message)
        self._cursor = cursor
        self._step, self._at, self._raw = int(rest[0]), int(rest[1]), Decimal(rest[2])
        self._next_raw = None

    def _raw_price(self, step: int) -> Decimal:
        """The price of a step. The float is only the factor a simulated market moves by, never an amount of money."""
        chance = Random(f"{self._settings.seed}:{self._symbol}:{step}")
        waypoints = self._settings.waypoints
        if waypoints and step * self._settings.interval_seconds <= waypoints[-1][0]:
            noise = Decimal(f"{chance.uniform(-1, 1):.9f}") * self._settings.noise_percent / HUNDRED
            return _RAW.multiply(self._on_path(step * self._settings.interval_seconds), 1 + noise)
        if step == 0:
            return self._settings.price
        factor = math.exp(self._mean + self._sigma * chance.gauss(0, 1))
        return _RAW.multiply(self._raw, Decimal(f"{factor:.15f}"))

    def _on_path(self, seconds: Decimal) -> Decimal:
        """The price on the straight lines from the first price through the waypoints."""
        points = ((Decimal(0), self._settings.price), *self._settings.waypoints)
        for (before, low), (after, high) in pairwise(points):
            if seconds <= after:
                share = Decimal(1) if after <= before else (seconds - before) / (after - before)
                return low + (high - low) * share
        return points[-1][1]
