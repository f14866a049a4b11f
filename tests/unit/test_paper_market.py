"""The paper market: files become ticks, walks repeat, and every cursor goes on exactly where it stood."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest

from actors.domain.model import Instrument
from actors.venues.paper_market import Market, MarketDataError, Tick, quote_of
from actors.venues.paper_replay import ReplaySource
from actors.venues.paper_settings import (
    MarketSettings,
    PaperSettings,
    ReplaySettings,
    WalkSettings,
    default_instrument,
    parse_speed,
)
from actors.venues.paper_sources import instruments_from, open_market
from actors.venues.paper_walk import WalkSource

SYMBOL = "BTC/USDT:USDT"
BTC = default_instrument(SYMBOL, Decimal(60000))
SECOND = 1_000_000
MIDNIGHT = 1_704_067_200 * SECOND
HEADER = "timestamp,open,high,low,close,volume\n"


def replay(folder: Path, text: str, cursor: str = "") -> ReplaySource:
    """A source over a file with this text."""
    file = folder / "prices.csv"
    file.write_text(text)
    return ReplaySource(SYMBOL, ReplaySettings(file=file), BTC, cursor=cursor)


def walk(cursor: str = "", **changes: object) -> WalkSource:
    """A walk from 60000 at time 0, with changes."""
    known: Mapping[str, object] = {"price": Decimal(60000), "start": 0} | changes
    return WalkSource(SYMBOL, WalkSettings(**known), BTC, cursor=cursor, follow_wall=False)  # type: ignore[arg-type]


def played(source: ReplaySource | WalkSource, most: int = 100) -> list[Tick]:
    """The ticks of a source, played one by one."""
    ticks: list[Tick] = []
    while len(ticks) < most and (tick := source.peek(0)) is not None:
        ticks.append(tick)
        source.advance(tick)
    return ticks


def lasts(ticks: list[Tick]) -> list[Decimal | None]:
    """Their last prices."""
    return [tick.quote.last for tick in ticks]


def test_a_rising_bar_goes_low_first(tmp_path: Path) -> None:
    """Open, low, high, close, at 0, 1/4, 1/2 and 3/4 of the minute."""
    ticks = played(replay(tmp_path, HEADER + "2024-01-01 00:00:00.000000,100,110,90,105,7\n"))
    assert lasts(ticks) == [100, 90, 110, 105]
    assert [tick.quote.at - MIDNIGHT for tick in ticks] == [0, 15 * SECOND, 30 * SECOND, 45 * SECOND]


def test_a_falling_bar_goes_high_first(tmp_path: Path) -> None:
    """Open, high, low, close."""
    assert lasts(played(replay(tmp_path, "2024-01-01T00:00:00Z,100,110,90,95\n"))) == [100, 110, 90, 95]


def test_the_length_of_a_bar_is_the_smallest_distance_of_the_first_rows(tmp_path: Path) -> None:
    """A missing bar does not stretch the others."""
    rows = "".join(f"2024-01-01T00:{minute}:00Z,1,1,1,1\n" for minute in ("00", "15", "20"))
    ticks = played(replay(tmp_path, rows))
    assert ticks[1].quote.at - ticks[0].quote.at == 75 * SECOND


def test_ticks_keep_their_times_and_exact_prices(tmp_path: Path) -> None:
    """A price is the decimal that was written, also finer than the instrument's tick; a time without zone is UTC."""
    (tick,) = played(replay(tmp_path, "timestamp,price\n2024-01-01 00:00:00.000001,0.10000000000000000001\n"))
    assert tick.quote.last == tick.quote.bid == tick.quote.ask == Decimal("0.10000000000000000001")
    assert tick.quote.at == MIDNIGHT + 1


@pytest.mark.parametrize("stop_after", range(9))
def test_a_replay_goes_on_at_its_cursor(tmp_path: Path, stop_after: int) -> None:
    """Also between the four ticks of a bar, and past a line without content."""
    text = HEADER + "2024-01-01T00:00:00Z,1,4,1,3,0\n\n2024-01-01T00:01:00Z,3,5,2,2,0\n"
    whole = played(replay(tmp_path, text))
    before = played(replay(tmp_path, text), stop_after)
    after = played(replay(tmp_path, text, cursor=before[-1].cursor if before else ""))
    assert before + after == whole
    assert len(whole) == 8


def test_an_unfinished_line_is_not_read(tmp_path: Path) -> None:
    """A row counts once its newline is written."""
    source = replay(tmp_path, "2024-01-01T00:00:00Z,100\n2024-01-01T00:00:01Z,10")
    assert lasts(played(source)) == [100]
    with (tmp_path / "prices.csv").open("a") as file:
        file.write("5\n")
    assert lasts(played(source)) == [105]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("2024-01-01T00:00:00Z,abc", "no row of a time"),
        ("yesterday,100", "no row of a time"),
        ("2024-01-01T00:02:00Z,-1", "not above zero"),
        ("2024-01-01T00:02:00Z,NaN", "not above zero"),
        ("2023-12-31T00:00:00Z,100", "sort the rows"),
        ("2024-01-01T00:02:00Z,1,1,1,1", "columns"),
        ("2024-01-01T00:02:00Z,1,1", "columns"),
        ("2024-01-01T00:02:00Z,5,4,3,4", "outside high and low"),
    ],
)
def test_a_bad_row_is_named_with_its_line_and_remedy(tmp_path: Path, row: str, says: str) -> None:
    """Whoever has to repair the file is told where and what."""
    with pytest.raises(MarketDataError, match=rf"prices.csv, line 3: .*{says}"):
        played(replay(tmp_path, f"timestamp,price\n2024-01-01T00:01:00Z,100\n{row}\n"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The error says which file."""
    with pytest.raises(MarketDataError, match=r"gone.csv cannot be read"):
        ReplaySource(SYMBOL, ReplaySettings(file=tmp_path / "gone.csv"), BTC, cursor="")


def test_another_file_under_the_same_name_is_noticed(tmp_path: Path) -> None:
    """A cursor that points into the middle of a row belongs to a different file."""
    cursor = played(replay(tmp_path, "2024-01-01T00:00:00Z,100\n2024-01-01T00:00:01Z,100\n"), 1)[0].cursor
    with pytest.raises(MarketDataError, match="is not the file"):
        replay(tmp_path, "timestamp,price\n2024-01-01T00:00:00Z,100\n", cursor=cursor)


def test_a_cursor_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    """A ledger that replayed a file does not silently begin to walk, nor the other way round."""
    text = "2024-01-01T00:00:00Z,100\n"
    with pytest.raises(MarketDataError, match="begin anew"):
        walk(cursor=played(replay(tmp_path, text))[0].cursor)
    with pytest.raises(MarketDataError, match="begin anew"):
        replay(tmp_path, text, cursor=played(walk(), 1)[0].cursor)


def test_a_walk_repeats_with_its_seed_only() -> None:
    """The same seed, the same prices; another seed, others."""
    assert played(walk(seed="7")) == played(walk(seed="7"))
    assert lasts(played(walk(seed="7"))) != lasts(played(walk(seed="8")))


def test_a_walk_goes_on_at_its_cursor() -> None:
    """Whatever tick it stopped at."""
    whole = played(walk())
    assert whole[:37] + played(walk(cursor=whole[36].cursor), 63) == whole


def test_a_walk_of_steps_below_half_a_tick_still_moves() -> None:
    """The price before rounding is what walks."""
    prices = lasts(played(walk(volatility=Decimal("0.001")), 2000))
    assert len(set(prices)) > 1


def test_a_walk_is_on_the_tick_with_a_spread_around_it() -> None:
    """Bid and ask are rounded outwards."""
    for tick in played(walk()):
        quote = tick.quote
        assert quote.last is not None
        assert quote.bid is not None
        assert quote.ask is not None
        assert quote.bid < quote.last < quote.ask
        assert all(price % BTC.tick_size == 0 for price in (quote.bid, quote.last, quote.ask))


def test_waypoints_are_passed_and_the_walk_goes_on_from_the_last() -> None:
    """Straight lines through (seconds, price), with a noise within its bound."""
    ticks = played(walk(waypoints=((Decimal(10), Decimal(61000)), (Decimal(20), Decimal(60500)))), 30)
    prices = [price for price in lasts(ticks) if price is not None]
    assert prices[5] == pytest.approx(Decimal(60500), abs=4)
    assert prices[10] == pytest.approx(Decimal(61000), abs=4)
    assert prices[20] == pytest.approx(Decimal(60500), abs=4)
    assert prices[21] != prices[20]
    assert prices[29] == pytest.approx(Decimal(60500), abs=500)


def test_waypoints_go_on_at_the_cursor() -> None:
    """The path is not begun anew after a restart."""
    points = ((Decimal(10), Decimal(61000)),)
    whole = played(walk(waypoints=points), 30)
    assert whole[:5] + played(walk(cursor=whole[4].cursor, waypoints=points), 25) == whole


def test_a_quote_never_has_a_bid_of_zero() -> None:
    """The lowest price is one tick."""
    quote = quote_of(0, Decimal("0.1"), Decimal(50), Decimal("0.1"))
    assert (quote.bid, quote.ask) == (Decimal("0.1"), Decimal("0.2"))


def test_a_finished_file_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """A symbol without a further row lets the rest go on."""
    (tmp_path / "a.csv").write_text("2024-01-01T00:00:00Z,1\n")
    (tmp_path / "b.csv").write_text("2024-01-01T00:00:00Z,10\n2024-01-01T00:00:01Z,11\n")
    symbols = {name: ReplaySettings(file=tmp_path / f"{name}.csv") for name in ("a", "b")}
    paper = PaperSettings(path=":memory:", market=MarketSettings(symbols=symbols))
    market = open_market(paper, instruments_from(paper), {})
    prices = []
    while (tick := market.peek(0)) is not None:
        prices.append(tick.quote.last)
        market.advance(tick)
    assert prices == [1, 10, 11]


@pytest.mark.parametrize(
    ("price", "tick", "step"),
    [("0.5", "0.00001", "1"), ("2", "0.0001", "1"), ("150", "0.01", "0.01"), ("60000", "1", "0.0001")],
)
def test_default_limits_fit_the_price(price: str, tick: str, step: str) -> None:
    """A symbol nobody configured gets a tick and a step of the size of its price."""
    found = default_instrument("XYZ/USDT:USDT", Decimal(price))
    assert (found.tick_size, found.quantity_step) == (Decimal(tick), Decimal(step))


def test_limits_change_single_fields_of_an_instrument() -> None:
    """What is not named keeps its default; the fee is the exchange's."""
    paper = PaperSettings(
        path=":memory:",
        market=MarketSettings(symbols={SYMBOL: WalkSettings(price=Decimal(60000))}),
        limits={SYMBOL: {"minimum_notional": Decimal(100)}},
        taker_fee_percent=Decimal("0.1"),
    )
    found = instruments_from(paper)[SYMBOL]
    assert found == Instrument(
        symbol=SYMBOL,
        tick_size=Decimal("0.1"),
        quantity_step=Decimal("0.001"),
        minimum_quantity=Decimal("0.001"),
        minimum_notional=Decimal(100),
        taker_fee_percent=Decimal("0.1"),
    )


def test_speeds_are_read_and_nonsense_is_refused() -> None:
    """`max`, or a positive factor."""
    assert [parse_speed(text) for text in ("max", "60x", "0.5x")] == ["max", 60.0, 0.5]
    for text in ("0x", "-1x", "infx", "nanx", "fast"):
        with pytest.raises(ValueError, match=r"speed|float"):
            parse_speed(text)


def test_what_follows_the_wall_is_never_before_it() -> None:
    """A tick that was next a while ago is not played late at its old time."""
    walking = WalkSettings(price=Decimal(60000))
    market = Market({name: WalkSource(name, walking, BTC, cursor="", follow_wall=True) for name in ("A", "B")})
    hour = 3600 * SECOND
    for now in (0, 0, SECOND):
        tick = market.peek(now)
        assert tick is not None
        assert tick.quote.at == now
        market.advance(tick)
    for now in (hour, hour):
        tick = market.peek(now)
        assert tick is not None
        assert tick.quote.at == now
        market.advance(tick)
