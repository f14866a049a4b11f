"""Replay: recorded prices, the rules that trade, and an answer in exact decimals."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors.domain.errors import PlanRefused
from actors.domain.model import Micros, Side
from actors.domain.path import Bar, BarPath, bar_length, moment_text, parse_moment, parse_rows, waypoints
from actors.domain.plans import RUNNER, parse_plan
from actors.domain.replay import replay

D = Decimal
DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "btc-perp-2022-01-1m.csv"
MINUTE = 60_000_000
NOON = parse_moment("2022-01-05 12:00:00")

LADDER = {
    "stop": {"percent": "2"},
    "targets": [
        {"at": {"percent": "1"}, "close": "0.6", "then": {"stop": {"percent": "0"}}},
        {"at": {"percent": "2"}, "close": "0", "then": {"trail": {"percent": "1"}}},
    ],
}


def bars(*rows: str) -> Any:
    """Bars of one minute from noon on, each `open high low close`."""
    lines = [f"{moment_text(NOON + index * MINUTE)},{','.join(row.split())}" for index, row in enumerate(rows)]
    return parse_rows(["timestamp,open,high,low,close", *lines])


def ticks(*prices: str) -> Any:
    """Ticks a second apart from noon on."""
    lines = [f"{moment_text(NOON + index * 1_000_000)},{price}" for index, price in enumerate(prices)]
    return parse_rows(["timestamp,price", *lines])


def run(rows: Any, plan: dict[str, Any] | None = None, side: str = "long", **changes: Any) -> dict[str, Any]:
    """The replay's answer for a position from noon on."""
    return replay(parse_plan(plan or LADDER), Side(side), rows, changes.pop("entry_at", NOON), **changes)


def told(answer: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """The exits in short: leg, reason, price, quantity."""
    return [(exit_["leg"], exit_["reason"], exit_["price"], exit_["quantity"]) for exit_ in answer["exits"]]


def test_the_answer_has_exactly_the_promised_fields() -> None:
    """What the manual says, as JSON can say it."""
    answer = json.loads(json.dumps(run(bars("100 101 99.5 100.5", "100 100 97 97"))))
    assert answer == {
        "entry": {"at": "2022-01-05T12:00:00.000000Z", "price": "100", "quantity": "1"},
        "exits": [
            {
                "leg": "target-1",
                "reason": "take_profit",
                "at": "2022-01-05T12:00:30.000000Z",
                "price": "101",
                "quantity": "0.6",
            },
            {
                "leg": "stop",
                "reason": "breakeven",
                "at": "2022-01-05T12:01:00.000000Z",
                "price": "100",
                "quantity": "0.4",
            },
        ],
        "remaining": "0",
        "realized_pnl": "0.6",
        "mae_percent": "0.5",
        "mfe_percent": "1",
        "peak_price": None,
    }


def test_entry_is_at_the_open_of_the_first_bar_at_or_after_the_moment() -> None:
    """And the rest of that bar counts."""
    rows = bars("90 90 90 90", "100 100.5 97 98", "98 98 98 98")
    answer = run(rows, entry_at=NOON + 1)
    assert answer["entry"]["price"] == "100"
    assert answer["entry"]["at"] == "2022-01-05T12:01:00.000000Z"
    assert told(answer) == [("stop", "stop_loss", "98", "1")]
    assert run(rows, entry_at=NOON + MINUTE)["entry"] == answer["entry"]


def test_entry_is_at_the_first_tick_at_or_after_the_moment() -> None:
    """For tick data."""
    answer = run(ticks("90", "100", "97.5"), entry_at=NOON + 1)
    assert answer["entry"]["price"] == "100"


def test_a_level_inside_a_bar_fills_at_the_level() -> None:
    """Between the ticks of a bar the path is continuous."""
    assert told(run(bars("100 100 100 100", "100 100 90 90"))) == [("stop", "stop_loss", "98", "1")]
    assert told(run(bars("100 100 100 100", "100 101.5 100 101.5"))) == [("target-1", "take_profit", "101", "0.6")]


def test_a_bars_open_can_gap_and_fills_at_the_open() -> None:
    """Stop and target alike."""
    assert told(run(bars("100 100 100 100", "95 95 95 95"))) == [("stop", "stop_loss", "95", "1")]
    assert told(run(bars("100 100 100 100", "101.7 101.7 101.7 101.7"))) == [
        ("target-1", "take_profit", "101.7", "0.6")
    ]


def test_every_tick_is_a_gap() -> None:
    """Tick data says nothing about what is between two ticks."""
    assert told(run(ticks("100", "95"))) == [("stop", "stop_loss", "95", "1")]
    assert told(run(ticks("100", "105", "103.9"))) == [
        ("target-1", "take_profit", "105", "0.6"),
        ("stop", "trailing_stop", "103.9", "0.4"),
    ]


def test_each_target_inside_a_bar_fills_at_its_own_level() -> None:
    """One long bar passes the whole ladder, and the trail follows to its high and fires on the way down."""
    plan = {
        "stop": {"percent": "2"},
        "targets": [
            {"at": {"percent": "1"}, "close": "0.5"},
            {"at": {"percent": "2"}, "close": "0.3", "then": {"trail": {"price": "1"}}},
        ],
    }
    answer = run(bars("100 110 100 105"), plan)
    assert told(answer) == [
        ("target-1", "take_profit", "101", "0.5"),
        ("target-2", "take_profit", "102", "0.3"),
        ("stop", "trailing_stop", "109", "0.2"),
    ]
    assert answer["peak_price"] == "110"
    assert [exit_["at"] for exit_ in answer["exits"]] == sorted(exit_["at"] for exit_ in answer["exits"])


@pytest.mark.parametrize(
    ("bar_path", "side", "exits"),
    [
        ("adverse-first", "long", [("stop", "stop_loss", "98", "1")]),
        ("favourable-first", "long", [("target-1", "take_profit", "101", "0.6"), ("stop", "breakeven", "100", "0.4")]),
        ("adverse-first", "short", [("stop", "stop_loss", "102", "1")]),
        ("favourable-first", "short", [("target-1", "take_profit", "99", "0.6"), ("stop", "breakeven", "100", "0.4")]),
    ],
)
def test_the_adverse_extreme_comes_first_unless_told_otherwise(
    bar_path: BarPath, side: str, exits: list[tuple[str, str, str, str]]
) -> None:
    """A bar through both the stop and the target: the pessimistic reading is the usual one."""
    rows = bars("100 101.5 97.5 100" if side == "long" else "100 102.5 98.5 100")
    assert told(run(rows, side=side, bar_path=bar_path)) == exits
    if bar_path == "adverse-first":
        assert told(run(rows, side=side)) == exits


def test_what_is_open_when_the_data_ends_remains() -> None:
    """Nothing is closed that the plan did not close."""
    answer = run(bars("100 101.5 100 101.2"))
    assert answer["remaining"] == "0.4"
    assert answer["realized_pnl"] == "0.6"


def test_the_quantity_is_one_unless_given() -> None:
    """And any quantity is exact."""
    answer = run(bars("100 101.5 100 101.2"), quantity=D("2.5"))
    assert (answer["entry"]["quantity"], answer["remaining"], answer["realized_pnl"]) == ("2.5", "1", "1.5")


def test_there_are_no_fees_unless_given() -> None:
    """0.1 % of 100 in and of 60.6 and 40 out, off the 0.6 that were made."""
    rows = bars("100 101 100 101", "100 100 100 100")
    assert run(rows)["realized_pnl"] == "0.6"
    assert run(rows, fee_percent=D("0.1"))["realized_pnl"] == "0.3994"


def test_a_breakeven_with_fees_pays_the_fees_of_the_replay() -> None:
    """The level refers to the same rate."""
    plan = {
        "stop": {"percent": "2"},
        "targets": [{"at": {"percent": "1"}, "close": "0", "then": {"stop": {"breakeven": "fees"}}}],
    }
    answer = run(bars("100 101 100 100"), plan, fee_percent=D("0.1"), bar_path="favourable-first")
    assert [exit_["reason"] for exit_ in answer["exits"]] == ["breakeven"]
    assert abs(D(answer["realized_pnl"])) < D("1e-12")


def test_levels_are_not_rounded_to_ticks() -> None:
    """A percent of an odd price has as many digits as it has."""
    answer = run(bars("46319.3 46319.3 40000 40000"), {"stop": {"percent": "1.2345"}})
    assert told(answer)[0][2] == str(D("46319.3") - D("46319.3") * D("1.2345") / 100)


def test_no_quantity_is_too_small() -> None:
    """There is no venue here that could refuse it."""
    answer = run(bars("100 101 100 101"), quantity=D("0.000001"))
    assert told(answer) == [("target-1", "take_profit", "101", "0.0000006")]


def test_the_time_limit_closes_at_its_moment() -> None:
    """Two minutes after the entry the third bar opens."""
    rows = bars("100 100 100 100", "100 100.2 100 100.1", "100.3 100.4 100.2 100.2")
    answer = run(rows, {"stop": {"percent": "2"}, "time_limit_seconds": 120})
    assert told(answer) == [("time_limit", "time_limit", "100.3", "1")]
    assert answer["exits"][0]["at"] == "2022-01-05T12:02:00.000000Z"


def resting(**first: Any) -> dict[str, Any]:
    """The ladder, its first target an order at rest."""
    body: dict[str, Any] = {**LADDER}
    at_rest, runner = body["targets"]
    return {**body, "targets": [{**at_rest, "order": "limit", **first}, runner]}


def test_an_order_at_rest_fills_at_its_level_also_when_the_price_jumps_past_it() -> None:
    """A market target gets what the jump gives; an order at rest has named its price."""
    assert told(run(bars("100 100 100 100", "100 101.5 100 101.5"), resting())) == [
        ("target-1", "take_profit", "101", "0.6")
    ]
    answer = run(ticks("100", "105", "103.9"), resting())
    assert told(answer) == [("target-1", "take_profit", "101", "0.6"), ("stop", "trailing_stop", "103.9", "0.4")]


def test_an_order_at_rest_moves_the_stop_when_it_has_filled() -> None:
    """Breakeven from then on; the stop takes what remains, and nothing is left at rest."""
    answer = run(ticks("100", "101", "100.5", "99.9"), resting())
    assert told(answer) == [("target-1", "take_profit", "101", "0.6"), ("stop", "breakeven", "99.9", "0.4")]
    assert told(run(ticks("100", "97.5"), resting())) == [("stop", "stop_loss", "97.5", "1")]


def test_an_order_at_rest_comes_closer_with_time() -> None:
    """Moved at its time, it is crossed already and gets the market's price."""
    steps = [{"percent": "1.9"}, {"percent": "0.5", "after_seconds": 2}]
    assert told(run(ticks("100", "101", "101.2"), resting(at=steps))) == [("target-1", "take_profit", "101.2", "0.6")]


def test_a_target_comes_closer_with_time() -> None:
    """The level of its age holds from that moment on."""
    steps = [{"percent": "3"}, {"percent": "0.5", "after_seconds": 120}]
    plan = {"stop": {"percent": "2"}, "targets": [{"at": steps, "close": "1"}]}
    rows = bars("100 101 100 101", "101 102 101 101", "101 101 101 101")
    answer = run(rows, plan)
    assert told(answer) == [("target-1", "take_profit", "101", "1")]
    assert answer["exits"][0]["at"] == "2022-01-05T12:02:00.000000Z"


def test_a_plan_that_is_refused_is_refused_here_too() -> None:
    """By the same checks, in the same words."""
    with pytest.raises(PlanRefused):
        run(bars("100 101 100 101"), {"stop": {"price": "105"}})


# -- reading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "2022-01-05 12:00:00",
        "2022-01-05 12:00:00.000000",
        "2022-01-05T12:00:00Z",
        "2022-01-05t12:00:00z",
        "2022-01-05T12:00:00.000+00:00",
        "2022-01-05T14:30:00+02:30",
    ],
)
def test_a_moment_may_be_written_in_two_ways(text: str) -> None:
    """Without a zone it is UTC; with one it is turned into UTC."""
    assert parse_moment(text) == NOON
    assert moment_text(parse_moment(text)) == "2022-01-05T12:00:00.000000Z"


@pytest.mark.parametrize("text", ["", "noon", "2022-01-05", "1641384000", "2022-13-05 12:00:00", "2022-01-05 12:00:61"])
def test_any_other_moment_is_refused(text: str) -> None:
    """With the way to write it."""
    with pytest.raises(ValueError, match="write it as"):
        parse_moment(text)


BARS = "timestamp,open,high,low,close"
T1, T2 = "2022-01-05 12:00:00", "2022-01-05 12:01:00"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "line 1: the header must be"),
        (["when,price"], "line 1: the header must be"),
        ([f"{T1},100"], "line 1: the header must be"),
        (["timestamp,price", f"{T1},100", f"{T2},"], "line 3: '' is not a price"),
        (["timestamp,price", f"{T1},nan"], "line 2: 'nan' is not a price"),
        (["timestamp,price", f"{T1},-1"], "line 2: '-1' is not a price"),
        (["timestamp,price", f"{T1},0"], "line 2: '0' is not a price"),
        (["timestamp,price", f"{T1},1_000"], "line 2: '1_000' is not a price"),
        (["timestamp,price", "soon,100"], "line 2: 'soon' is not a time"),
        (["timestamp,price", f"{T1},100,5"], "line 2: 3 fields where the header has 2"),
        (["timestamp,price", "", f"{T2},100", f"{T1},100"], "line 4: its time is not after"),
        ([BARS, f"{T1},100,101,99"], "line 2: 4 fields where the header has 5"),
        ([BARS, f"{T1},100,99,101,100"], "line 2: high 99 and low 101 must enclose"),
        ([BARS, f"{T1},100,101,99,102"], "line 2: high 101 and low 99 must enclose"),
        ([BARS, f"{T1},100,101,99,100", f"{T1},100,101,99,100"], "line 3: its time is not after"),
    ],
)
def test_a_row_that_cannot_be_trusted_is_named_by_its_line(lines: list[str], message: str) -> None:
    """The line and the remedy, never a guess."""
    with pytest.raises(ValueError, match=message):
        parse_rows(lines)


def test_volume_spaces_blank_lines_and_a_byte_order_mark_are_nothing() -> None:
    """What spreadsheets and editors leave behind."""
    rows = parse_rows([f"\ufeff{BARS.upper()},volume\r\n", "\n", f" {T1} , 100, 101 ,99,100 ,7\n", "\n"])
    assert rows == (Bar(NOON, D(100), D(101), D(99), D(100)),)


def test_two_ticks_may_share_a_moment() -> None:
    """Trades do, and their order is that of the rows."""
    assert len(parse_rows(["timestamp,price", f"{T1},100", f"{T1},101"])) == 2


@pytest.mark.parametrize("rows", [bars("100 100 100 100"), parse_rows([BARS])])
def test_data_that_ends_before_the_entry_is_refused(rows: Any) -> None:
    """With what to do about it."""
    with pytest.raises(ValueError, match="give"):
        run(rows, entry_at=NOON + 1)


def test_a_hole_in_the_data_does_not_stretch_a_bar() -> None:
    """The ticks of a bar stay within its own length: the smallest distance of two rows."""
    rows = (*bars("100 101 99 100", "100 101 99 100"), Bar(NOON + 9 * MINUTE, D(100), D(101), D(99), D(100)))
    assert bar_length(rows) == MINUTE
    moments = [point.at - NOON for point in waypoints(rows, 1, Side.LONG, "adverse-first")]
    quarter = MINUTE // 4
    assert moments == [start * MINUTE + tick * quarter for start in (1, 9) for tick in range(4)]


# -- the same again, by other means ------------------------------------------------------------------------------------


def runner_by_hand(rows: list[Bar], side: str) -> list[tuple[str, Decimal]]:
    """The built-in plan on bars, written down a second time without any of our rules: (reason, price) of each exit.

    Between two ticks of a bar everything is passed in the direction of travel, so the level that is met first wins.
    """
    sign = 1 if side == "long" else -1
    entry = rows[0].open
    stop, reason = entry * (1 - sign * D("0.015")), "stop_loss"
    first, second = entry * (1 + sign * D("0.01")), entry * (1 + sign * D("0.02"))
    hit_first = armed = False
    peak = entry
    exits: list[tuple[str, Decimal]] = []
    before = entry
    for index, bar in enumerate(rows):
        extremes = (bar.low, bar.high) if side == "long" else (bar.high, bar.low)
        for place, price in enumerate((bar.open, *extremes, bar.close)):
            jumped = place == 0
            if index == 0 and jumped:
                continue
            if sign * (price - stop) <= 0:
                return [*exits, (reason, price if jumped or sign * (before - stop) <= 0 else stop)]
            if armed and sign * (price - peak) > 0:
                peak = price
            if not hit_first and sign * (price - first) >= 0:
                hit_first = True
                exits.append(("take_profit", price if jumped else first))
                stop, reason = entry, "breakeven"
            if not armed and sign * (price - second) >= 0:
                armed, peak = True, price
            trail = peak * (1 - sign * D("0.008"))
            if armed and sign * (trail - stop) > 0:
                stop, reason = trail, "trailing_stop"
            before = price
    return exits


@pytest.fixture(scope="module")
def month() -> list[Bar]:
    """A month of one-minute bars, from beside the repository."""
    if not DATA.exists():
        pytest.skip(f"{DATA.name} is not beside this repository")
    rows = parse_rows(DATA.read_text(encoding="utf-8").splitlines())
    return [row for row in rows if isinstance(row, Bar)]


@pytest.mark.parametrize("side", ["long", "short"])
def test_the_runner_on_a_real_month_is_what_it_is_by_hand(month: list[Bar], side: str) -> None:
    """Forty entries, spread over the month: every exit's reason and price, to the last digit."""
    plan = parse_plan(RUNNER)
    for start in range(0, len(month) - 3000, len(month) // 40):
        entry_at: Micros = month[start].at
        answer = replay(plan, Side(side), month, entry_at)
        ours = [(exit_["reason"], D(exit_["price"])) for exit_ in answer["exits"]]
        assert ours == runner_by_hand(month[start:], side), f"entry at {moment_text(entry_at)}"
