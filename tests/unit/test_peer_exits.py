"""Another project's exit scenarios, told as plans of ours and driven through the public rules.

The scenarios stay where they are, outside the repository; without them these tests are skipped. A strict comparison
there (profit > value) is a level a hair beyond here; profits there are leveraged ratios, percents here are of the entry
price.
"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors.domain.events import CloseManually
from actors.domain.model import Side
from actors.domain.path import Waypoint
from actors.domain.plans import parse_plan
from actors.domain.replay import IdealExchange

CASES = Path(__file__).resolve().parents[2].parent / "shared" / "cases" / "peer_exits.json"
MINUTE = 60_000_000
START = 1_700_000_000_000_000

# Their prices are floats rounded by the exchange; a hair is far below a cent at 5,000.
HAIR = Decimal("0.0000001")
CENT = Decimal("0.01")

REASONS = {
    "stop_loss": {"stop_loss"},
    "trailing_stop_loss": {"trailing_stop"},
    "roi": {"take_profit"},
    "exit_signal": {"manual"},
}


def read_cases() -> list[Any]:
    """The scenarios as parameters; one that skips with its reason where they are missing."""
    if not CASES.exists():
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"{CASES.name} is not beside this repository"))]
    cases = json.loads(CASES.read_text(encoding="utf-8"), parse_float=Decimal, parse_int=Decimal)["cases"]
    return [pytest.param(case, id=case["name"]) for case in cases]


def percent_of(ratio: Decimal, leverage: Decimal) -> Decimal:
    """A leveraged profit ratio as a percent of price."""
    return abs(ratio) * 100 / leverage


def text(value: Decimal) -> str:
    """A decimal as a plan wants it: few digits, no exponent."""
    return format(round(value, 12), "f")


def plan_of(params: dict[str, Any]) -> dict[str, Any]:
    """The scenario's parameters as one of our plans."""
    leverage = params["leverage"]
    stop = text(percent_of(params["stoploss"], leverage))
    plan: dict[str, Any] = {"stop": {"percent": stop}, "trigger_by": {"stop": "mark", "targets": "mark"}}
    steps = []
    for minutes, ratio in sorted(params["roi"].items(), key=lambda item: int(item[0])):
        step: dict[str, Any] = {"percent": text(percent_of(ratio, leverage) + HAIR)}
        if int(minutes):
            step["after_seconds"] = int(minutes) * 60
        steps.append(step)
    targets: list[dict[str, Any]] = [{"at": steps, "close": "1"}]
    if params["trailing_stop"]:
        positive = params["trailing_stop_positive"]
        if positive:
            offset = percent_of(params["trailing_stop_positive_offset"], leverage) + 2 * HAIR
            arm = {"trail": {"percent": text(percent_of(positive, leverage))}}
            targets.append({"at": {"percent": text(offset)}, "close": "0", "then": arm})
        if not params["trailing_only_offset_is_reached"]:
            plan["trail"] = {"percent": stop}
    # Our targets are listed in order of profit; take profit comes first where both are at the same level.
    targets.sort(key=lambda target: Decimal((target["at"][0] if "then" not in target else target["at"])["percent"]))
    return {**plan, "targets": targets}


def run(position: dict[str, Any], params: dict[str, Any]) -> list[dict[str, Any]]:
    """The exits our rules make on one position's ticks, with the candle in which each one happened."""
    ticks = position["ticks"]
    points = [
        Waypoint(START + int(tick["minute"]) * MINUTE + index, tick["price"], tick["kind"] == "open")
        for index, tick in enumerate(ticks)
    ]
    first = points[0]
    assert ticks[0]["kind"] == "entry"
    exchange = IdealExchange.enter(parse_plan(plan_of(params)), Side(position["side"]), first)
    signals = {int(command["before_tick"]) for command in position["commands"]}
    exits: list[dict[str, Any]] = []
    for index, point in enumerate(points[1:], 1):
        if index in signals:
            # Their signal closes at the open of this candle, before any stop is looked at.
            exchange.at, exchange.price = point.at, point.price
            exchange.tell(CloseManually(at=point.at))
        else:
            exchange.travel(point)
        for fill in exchange.position.fills[1 + len(exits) :]:
            exits.append({"reason": str(fill.reason), "candle": int(ticks[index]["candle"]), "price": fill.price})
        if exchange.done:
            break
    return exits


@pytest.mark.parametrize("case", read_cases())
def test_our_rules_exit_where_the_peers_do(case: dict[str, Any]) -> None:
    """Same candle, same price, same reason; and one exit that closes everything."""
    found = [exit_ for position in case["positions"] for exit_ in run(position, case["params"])]
    assert len(found) == len(case["expected_exits"])
    for ours, theirs in zip(found, case["expected_exits"], strict=True):
        assert ours["candle"] == theirs["candle"]
        assert ours["reason"] in REASONS[theirs["reason"]]
        assert abs(ours["price"] - theirs["price"]) < CENT
