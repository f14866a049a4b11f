"""The same comparison as test_price_book_naive.py on seeded stories that are longer than Hypothesis likes to make them:
markets that trend, turn and pause, orders that are refused and tried again, trails whose clamps take turns.
"""

import random
from typing import Any

import pytest

from actors.domain.errors import PlanRefused
from actors.domain.model import Terms
from tests.unit.driver import SECOND, D, Desk, opened
from tests.unit.test_price_book_naive import ENTRY, SOURCES, World
from tests.unit.test_rules_properties import pending

Draw = random.Random


def percent(draw: Draw, low: int, high: int) -> str:
    """A percent in twentieths."""
    return str(D(draw.randint(low, high)) / 20)


def distance(draw: Draw) -> dict[str, str]:
    """A trailing distance; clamps lie near it, so that the price decides which of them holds."""
    size = draw.randint(4, 40)
    kind = draw.choice(["percent", "price", "atr"])
    found = {kind: str(D(size) / (20 if kind == "percent" else 2))}
    if draw.random() < 0.4:
        found["min_percent"] = str(D(max(0, size - draw.randint(-1, 3))) / 20)
    if draw.random() < 0.4:
        found["max_percent"] = str(max(D(found.get("min_percent", 0)), D(size + draw.randint(-1, 3)) / 20))
    return found


def target(draw: Draw, level: int, share: int) -> dict[str, Any]:
    """A target so many twentieths of a percent away, that closes so many tenths."""
    then: dict[str, Any] = {}
    if draw.random() < 0.4:
        then["stop"] = draw.choice(
            [{"breakeven": "price"}, {"breakeven": "fees"}, {"percent": percent(draw, -20, 20)}, {"r": "0.2"}]
        )
    if draw.random() < 0.4:
        then["trail"] = distance(draw)
    far = draw.choice([{"percent": str(D(level) / 20)}, {"atr": str(D(level) / 2)}])
    at: Any = far
    if draw.random() < 0.35:
        moments = sorted(draw.sample(range(1, 300), draw.randint(1, 2)))
        nearer = [str(D(level) * (9 - 2 * index) / 200) for index in range(len(moments))]
        steps = zip(nearer, moments, strict=True)
        at = [far, *({"percent": near, "after_seconds": str(D(moment) / 10)} for near, moment in steps)]
    found = {"at": at, "close": str(D(share) / 10), "then": then}
    if share and draw.random() < 0.3:
        found |= {"order": "limit", "actions_on": draw.choice(["fill", "touch"])}
    return found


def plan(draw: Draw) -> dict[str, Any]:
    """Any plan; an ATR is 1, a tenth of a percent."""
    found: dict[str, Any] = {"stop": {"percent": percent(draw, 10, 120)}, "atr": "1"}
    if draw.random() < 0.6:
        found["trail"] = distance(draw)
    far = sorted(draw.sample(range(2, 60), draw.randint(0, 4)))
    shares = [draw.choice([0, 1, 2, 3]) for _ in far]
    while sum(shares) > 10:
        shares[shares.index(max(shares))] -= 1
    found["targets"] = [target(draw, level, share) for level, share in zip(far, shares, strict=True)]
    if draw.random() < 0.2:
        found["time_limit_seconds"] = percent(draw, 10, 1200)
    found["max_slippage_percent"] = draw.choice(["0", "0.05", "0.2", "100"])
    found["trigger_by"] = {"stop": draw.choice(SOURCES), "targets": draw.choice(SOURCES)}
    return found


def opening(draw: Draw) -> dict[str, Any]:
    """One position at a venue that answers more or less."""
    held = [leg for leg in ("target-", "stop", "resident-", "manual-") if draw.random() < 0.3]
    held += ["entry"] if draw.random() < 0.1 else []
    return {
        "plan": plan(draw),
        "side": draw.choice(["long", "short"]),
        "held": ("observe", *held),
        "fee_percent": draw.choice(["0", "0.05"]),
        "terms": Terms(
            resident_interval_seconds=D(draw.choice(["0", "1", "5", "20"])),
            resident_step_percent=D(draw.choice(["0", "0.05", "0.3"])),
        ),
    }


def accepted(draw: Draw) -> dict[str, Any]:
    """One that is not refused."""
    while True:
        found = opening(draw)
        try:
            opened(**found, entry=ENTRY)
        except PlanRefused:
            continue
        return found


def under_way(desk: Desk) -> bool:
    """Whether the venue owes an answer about an order."""
    return pending(desk) is not None


def event(draw: Draw, world: World, which: int) -> tuple[Any, ...]:
    """What happens between two ticks: an answer where one is owed, mostly."""
    desk = world.pairs[which % len(world.pairs)].naive
    if under_way(desk) and draw.random() < 0.8:
        return "fill", draw.choice(["part", "whole", "whole", "end", "lose", "refuse", "refuse", "absent", "read"])
    kinds = ["fold"] * 4 + ["resident"] * 6 + ["wait"] * 2 + ["crash", "compact", "restart", "amend", "close"]
    kind = draw.choice(kinds)
    if kind == "resident":
        return kind, draw.choice(
            ["rest", "rest", "rest", "rest", "refuse", "end", "part", "whole"][: draw.choice([4, 6, 8])]
        )
    if kind == "wait":
        return kind, draw.randint(0, 9)
    if kind == "amend":
        return kind, plan(draw), draw.random() < 0.5, draw.random() < 0.3
    if kind == "close":
        return kind, draw.choice(["0.1", "0.25", "0.5", "0.5", "1"])
    return (kind,)


def story(seed: int) -> None:
    """One seeded market with a few positions."""
    draw = Draw(seed)
    world = World([accepted(draw) for _ in range(draw.randint(1, 3))])
    busy, drift = draw.choice([0.05, 0.2, 0.4]), 0
    pause = draw.choice([[0], [SECOND], [0, 300_000, SECOND, 3 * SECOND]])
    for _ in range(draw.randint(20, 100)):
        if draw.random() < 0.1:
            drift = draw.choice([-2, -1, 0, 1, 2])
        if draw.random() < busy:
            which = draw.randint(0, 2)
            world.happen(which, event(draw, world, which), 0)
            continue
        jump = draw.randint(-30, 30) if draw.random() < 0.03 else 0
        spread = tuple(None if draw.random() < 0.15 else draw.randint(-3, 3) for _ in range(4))
        world.tick(drift + draw.randint(-2, 2) + jump, spread, draw.choice(pause), draw.choice([0, 0, 0, 1, 4]))
    world.end()


@pytest.mark.parametrize("first", range(0, 300, 20))
def test_the_book_equals_every_price_to_every_position_on_long_walks(first: int) -> None:
    """Twenty stories."""
    for seed in range(first, first + 20):
        story(seed)
