"""What the paper venue is told: the markets it plays, how fast, and what it allows and charges.

Starting margin is not modelled: every order finds enough of it, so `insufficient_margin` never occurs here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Literal

from actors.domain.model import ZERO, Instrument, Micros

Speed = Literal["max"] | float

MEMORY = ":memory:"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySettings:
    """Prices of one symbol from a CSV file of ticks or bars. `spread_percent` is the whole spread, of the price."""

    file: Path
    spread_percent: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkSettings:
    """A seeded random walk of one symbol. `volatility` and `drift` are annual fractions (0.8 is 80 %).

    `waypoints` are (seconds since the first tick, price): the price runs through them in straight lines, with a seeded
    noise of up to `noise_percent`, and walks on at random after the last. `start` is the event time of the first tick;
    without it that is the wall time of the very first start.
    """

    price: Decimal
    volatility: Decimal = Decimal("0.8")
    drift: Decimal = ZERO
    seed: str = "0"
    interval_seconds: Decimal = Decimal(1)
    spread_percent: Decimal = Decimal("0.01")
    start: Micros | None = None
    waypoints: tuple[tuple[Decimal, Decimal], ...] = ()
    noise_percent: Decimal = Decimal("0.005")


SymbolSettings = ReplaySettings | WalkSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketSettings:
    """Every symbol's prices; where two have the same time, the symbol named first comes first."""

    symbols: Mapping[str, SymbolSettings]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperSettings:
    """One paper exchange. `path` is its ledger, an SQLite file of its own (or `:memory:`).

    `speed` is "max" (lockstep: a price is followed by the next once it has settled) or how many seconds of event time
    pass in a second of wall time. `instruments` replace the defaults of their symbols, `limits` single fields of them
    (symbol -> `tick_size`, `quantity_step`, `minimum_quantity`, `minimum_notional`); the fee is always the taker fee
    given here, in percent of the notional. `maximum_stops` bounds the stops at rest for an account and symbol.

    `shared`: other processes trade on this ledger too, and one of them at a time plays the market (not in lockstep).
    `control` is a file of faults (see paper_control.py).
    """

    path: Path | str
    market: MarketSettings
    instruments: tuple[Instrument, ...] = ()
    limits: Mapping[str, Mapping[str, Decimal]] = field(default_factory=dict)
    speed: Speed = 1.0
    taker_fee_percent: Decimal = Decimal("0.05")
    maximum_stops: int = 100
    shared: bool = False
    control: Path | None = None

    def __post_init__(self) -> None:
        """Refuse a lockstep of several processes. Raises ValueError."""
        if self.shared and self.speed == "max":
            message = 'a shared ledger cannot be played in lockstep: choose a speed such as "1x"'
            raise ValueError(message)


def parse_speed(text: str) -> Speed:
    """Read "max", "60x" or "1x". Raises ValueError for anything else."""
    if text == "max":
        return "max"
    speed = float(text.removesuffix("x"))
    if not 0 < speed < float("inf"):
        message = f'speed is "max" or a positive factor such as "60x", not {text!r}'
        raise ValueError(message)
    return speed


_KNOWN = {
    "BTC": ("0.1", "0.001", "0.001"),
    "ETH": ("0.01", "0.001", "0.001"),
    "SOL": ("0.001", "0.01", "0.01"),
}
_MINIMUM_NOTIONAL = Decimal(5)


def default_instrument(symbol: str, price: Decimal) -> Instrument:
    """Plausible limits for a symbol: those usual for BTC, ETH and SOL, otherwise derived from the size of the price."""
    base = symbol.partition("/")[0]
    if base in _KNOWN:
        tick, step, minimum = (Decimal(text) for text in _KNOWN[base])
    else:
        exponent = price.adjusted()
        tick = Decimal(1).scaleb(exponent - 4)
        step = minimum = min(Decimal(1), Decimal(1).scaleb(-exponent))
    return Instrument(
        symbol=symbol,
        tick_size=tick,
        quantity_step=step,
        minimum_quantity=minimum,
        minimum_notional=_MINIMUM_NOTIONAL,
    )


def instruments_of(settings: PaperSettings, prices: Mapping[str, Decimal]) -> dict[str, Instrument]:
    """Every tradable symbol's instrument: exactly the symbols that have a market. `prices` choose the defaults."""
    given = {instrument.symbol: instrument for instrument in settings.instruments}
    found: dict[str, Instrument] = {}
    for symbol in settings.market.symbols:
        usual = given.get(symbol) or default_instrument(symbol, prices.get(symbol, Decimal(1)))
        limits = settings.limits.get(symbol, {})
        found[symbol] = replace(
            usual,
            tick_size=limits.get("tick_size", usual.tick_size),
            quantity_step=limits.get("quantity_step", usual.quantity_step),
            minimum_quantity=limits.get("minimum_quantity", usual.minimum_quantity),
            minimum_notional=limits.get("minimum_notional", usual.minimum_notional),
            taker_fee_percent=settings.taker_fee_percent,
        )
    return found
