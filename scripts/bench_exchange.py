"""The paper exchange of a measurement: a stop watch, a market that can pause, prices that can be written in."""

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from actors.venues.base import OrderRequest
from scripts.bench_row import wait_until
from scripts.bench_states import PRICE, START_AT, instrument
from service import bootstrap
from tests.simulation.house import WatchedExchange

# Only service/bootstrap.py names a concrete venue, store or server (tests/test_tidy.py), so they are taken from there.
# What a module merely imports is no export of it to mypy: hence Any.
CONCRETE: Any = bootstrap
_HEADER = "timestamp,price\n"
_STANDS_STILL_SECONDS = Decimal(10_000_000)
# A file's prices are played as soon as they are there, whatever their times.
FILE_SPEED = 1e9


class _Unheard(list[Any]):
    """A list that keeps nothing: half an hour of orders would weigh more than what is measured."""

    def append(self, _item: Any) -> None:
        """Forget it."""


class BenchExchange(WatchedExchange):
    """The paper exchange with a stop watch: when a price was played, when orders were executed, and a pause."""

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.accepted, self.asked = _Unheard(), _Unheard()
        self.paused = False
        self.one_alone = False
        self.ticks = 0
        self.played_at = 0.0
        self.recording = False
        self.executed_at: list[float] = []
        self._fresh = 0

    def step(self, tick: Any) -> Any:
        """Play one price."""
        if hasattr(WatchedExchange, "steps"):
            return super().step(tick)
        return self._timed(lambda: (1, WatchedExchange.step(self, tick)))[1]

    def steps(self, ticks: Sequence[Any]) -> Any:
        """Play prices that are due together."""
        play: Any = vars(WatchedExchange.__mro__[1])["steps"]
        due = ticks[:1] if self.one_alone else ticks
        return self._timed(lambda: play(self, due))

    def _timed(self, play: Any) -> Any:
        """Unless the market pauses: the exchange's actor tries again a second later."""
        if self.paused:
            raise sqlite3.OperationalError("the market pauses")
        played = play()
        self.played_at = time.perf_counter()
        # At once, here: whoever looks from another thread may come after the next price.
        self.paused = self.one_alone
        self.ticks += played[0]
        return played

    def submit(self, request: OrderRequest, now: int) -> Any:
        """Take an order; while recording, note when a market order was executed."""
        read = super().submit(request, now)
        if self.recording and request.trigger_price is None:
            self._fresh += 1
            if not hasattr(WatchedExchange, "together"):
                self._executed()
        return read

    @contextmanager
    def together(self, *, writes: bool) -> Iterator[None]:
        """Several requests in one transaction: what is executed in it is so when it is committed."""
        served: Any = vars(WatchedExchange.__mro__[1])["together"]
        with served(self, writes=writes):
            yield
        if self._fresh:
            self._executed()

    def _executed(self) -> None:
        fresh, self._fresh = self._fresh, 0
        self.executed_at.extend([time.perf_counter()] * fresh)

    @property
    def tables(self) -> Any:
        """The rows, for seeding and for judging."""
        return self._tables


def settings_of(folder: Path, market: Mapping[str, Any], speed: float) -> Any:
    """A paper exchange's settings; a ledger in the folder."""
    return CONCRETE.PaperSettings(
        path=folder / "exchange.sqlite",
        market=CONCRETE.MarketSettings(symbols=dict(market)),
        instruments=tuple(instrument(name) for name in market),
        speed=speed,
    )


def standstill() -> Any:
    """A market whose second price is months away."""
    return walk(interval_seconds=_STANDS_STILL_SECONDS, start=START_AT, spread_percent=Decimal(0))


def walk(**words: Any) -> Any:
    """A random walk from the price that all positions were opened at."""
    return CONCRETE.WalkSettings(price=PRICE, **words)


@dataclass(slots=True)
class PriceFile:
    """A symbol's prices in a file: whoever adds one decides when it comes."""

    path: Path
    seconds: int = 0

    @classmethod
    def begun(cls, path: Path) -> "PriceFile":
        """With the first price, which has been played."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_HEADER + _row(0, PRICE), encoding="utf-8")
        return cls(path)

    @property
    def settings(self) -> Any:
        """For the market."""
        return CONCRETE.ReplaySettings(file=self.path)

    def add(self, price: Decimal) -> None:
        """The next price."""
        self.seconds += 1
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_row(self.seconds, price))


def play(exchange: BenchExchange, file: PriceFile, price: Decimal) -> float:
    """Let one price come; when it had been played (on the clock of time.perf_counter)."""
    ticks = exchange.ticks
    file.add(price)
    wait_until(lambda: exchange.ticks > ticks, "the price", patience_seconds=60)
    return exchange.played_at


def cursor_of(source: Any) -> str:
    """Where the first price of a market has been played."""
    if isinstance(source, CONCRETE.WalkSettings):
        return f'["walk",0,{START_AT},"{PRICE}"]'
    length = len(_HEADER) + len(_row(0, PRICE))
    return f'["csv",{length},0,3,{START_AT}]'


def _row(seconds: int, price: Decimal) -> str:
    moment = datetime.fromtimestamp(START_AT / 1_000_000, UTC) + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%d %H:%M:%S.%f},{price}\n"
