"""The stories of the campaigns: what is opened, the prices that come, what people and the exchange do meanwhile.

Told stories have a fixed course, so that every single crash point of them can be tried; a `storm` is drawn from a seed.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any

from actors.domain.model import OrderSide, Plan, Side
from actors.domain.plans import RUNNER, parse_plan
from tests.simulation.troubles import Trouble
from tests.simulation.weather import PLANS, RESTING_PLANS

RESTING: Mapping[str, Any] = {
    "stop": {"percent": "1.5"},
    "targets": [
        {"at": {"percent": "1"}, "close": "0.6", "order": "limit", "then": {"stop": {"percent": "0"}}},
        {"at": {"percent": "2"}, "close": "0.2", "order": "limit", "then": {"trail": {"percent": "0.8"}}},
    ],
}
SPLIT: Mapping[str, Any] = {
    "stop": {"percent": "1"},
    "targets": [{"at": {"percent": "0.7"}, "close": "0.5"}, {"at": {"percent": "1.4"}, "close": "0.5"}],
}
TIMED: Mapping[str, Any] = {
    "stop": {"percent": "1.2"},
    "trail": {"percent": "1.2"},
    "time_limit_seconds": "6",
    "targets": [],
}
RUNNER_PRICES = (60300, 59500, 60600, 61200, 61500, 61400, 61000, 60900)
STOPPED_PRICES = (60200, 59300, 59000, 59900)
BREAKEVEN_PRICES = (60650, 60400, 59990, 60000)
JUMP_PRICES = (61900, 62500, 61900, 61000)
PART_PRICES = (60650, 60400, 59000, 59900)
FALLING_PRICES = (59700, 59350, 58700, 58700, 58550, 58500, 59100, 59000)
TICKS = 40


@dataclass(frozen=True)
class Story:
    """What is opened, and what comes. `crowd` is what somebody else holds in the same slot, and `faults` are the
    exchange's part in it.

    `exact`: where no tick is lost, crashes change nothing that counts. `every`: each of its crash points is tried.
    """

    name: str
    prices: Sequence[object]
    body: Mapping[str, Any] = field(default_factory=lambda: RUNNER)
    side: Side = Side.LONG
    quantity: Decimal = Decimal(1)
    crowd: Decimal = Decimal(0)
    faults: Sequence[Mapping[str, Any]] = ()
    troubles: Sequence[Trouble] = ()
    exact: bool = True
    every: bool = True

    @cached_property
    def plan(self) -> Plan:
        """The plan, read."""
        return parse_plan(self.body)

    @cached_property
    def shares(self) -> dict[int, Decimal]:
        """The fraction that each target closes."""
        return {target.number: target.close for target in self.plan.targets}

    @property
    def entry_side(self) -> OrderSide:
        """The side of the entry."""
        return OrderSide.BUY if self.side is Side.LONG else OrderSide.SELL


PART_FILL: Mapping[str, Any] = {"on": "fill", "position": "p1", "leg": "target-1", "fill": Decimal("0.25")}
TOLD = (
    Story("runner", RUNNER_PRICES),
    Story("breakeven", BREAKEVEN_PRICES),
    Story("stopped", STOPPED_PRICES),
    Story("jump", JUMP_PRICES),
    Story("resting", RUNNER_PRICES, RESTING, faults=({**PART_FILL, "rest": "next_price"},)),
    Story("resting stopped", PART_PRICES, RESTING, faults=({**PART_FILL, "rest": "next_price"},)),
    Story("resting jump", JUMP_PRICES, RESTING, faults=({**PART_FILL, "rest": "next_price"},)),
    Story("short", FALLING_PRICES, side=Side.SHORT),
    Story("crowded", BREAKEVEN_PRICES, SPLIT, crowd=Decimal(2)),
    Story("timed", (60200, 60500, 60400, 60300, 60350, 60300, 60250, 60200, 60100), TIMED),
    Story(
        "unanswered",
        RUNNER_PRICES,
        faults=(
            {"on": "submit", "position": "p1", "leg": "target-1", "lose": "reply"},
            {"on": "submit", "position": "p1", "leg": "stop", "lose": "reply"},
            {"on": "submit", "position": "p1", "leg": "resident-2", "lose": "request"},
        ),
    ),
    Story(
        "in parts",
        RUNNER_PRICES,
        faults=(
            {"on": "fill", "position": "p1", "leg": "entry", "fill": Decimal("0.3"), "rest": 1.5},
            {**PART_FILL, "rest": 1.5},
        ),
        exact=False,
    ),
    Story(
        "halved",
        (60100, 60200, 60700, 60600, 60300, 59900),
        troubles=(Trouble(kind="hand", when="second", at=3, subject="half"),),
        exact=False,
    ),
    Story(
        "slept through",
        (*[60100] * 60, *[60200] * 15, *[60700] * 10, *[60200] * 60, 60250, 60650, 60300, 59900),
        troubles=(Trouble(kind="hand", when="second", at=8, subject="sleep", seconds=125.0),),
        every=False,
    ),
)
STORIES = {story.name: story for story in TOLD}


def drawn(seed: int, ticks: int | None = None) -> Story:
    """A random walk, a random plan, a side."""
    dice = random.Random(f"story {seed}")
    side = dice.choice((Side.LONG, Side.SHORT))
    body = dice.choice((*PLANS, *PLANS, *RESTING_PLANS))
    price, path = 60000.0, []
    drift = dice.choice((-0.0006, 0.0, 0.0008, 0.0014)) * side.sign
    for _ in range(TICKS):
        price *= 1 + drift + dice.gauss(0, 0.003)
        path.append(round(price, 1))
    crowd = Decimal(dice.choice((0, 0, 0, 2)))
    return Story("storm", path if ticks is None else path[:ticks], body, side=side, crowd=crowd, exact=False)
