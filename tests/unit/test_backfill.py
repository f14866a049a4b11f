"""Which candles of a gap are taken."""

from decimal import Decimal

from actors.domain.model import Source
from actors.recovery import extremes
from actors.traffic import GapRead
from actors.venues.base import Candle


def candle(at: int, high: int, low: int) -> Candle:
    """One minute."""
    return Candle(at=at, open=Decimal(low), high=Decimal(high), low=Decimal(low), close=Decimal(high))


def test_only_candles_that_began_after_the_last_save_are_taken() -> None:
    """One that began before it may hold a peak from before the trail was armed."""
    candles = (candle(100, 90, 10), candle(200, 80, 20), candle(201, 70, 30), candle(300, 75, 35))
    highest, lowest = extremes(GapRead(source=Source.MARK, candles=candles, complete=True), 200)
    assert highest is not None
    assert lowest is not None
    assert (highest.high, lowest.low) == (Decimal(75), Decimal(30))


def test_a_gap_without_candles_has_no_extremes() -> None:
    """Nothing is made up."""
    assert extremes(GapRead(source=Source.MARK, candles=(), complete=True), 0) == (None, None)
