"""What can go wrong in a run, one trouble after the other, drawn from its seed ahead of time.

A trouble says when it comes: at a point (see world.py), at a stage of a request to the store, at the nth request to the
exchange, or at a second. The list is drawn whole before the run, so that the same run can be played with fewer of them
until only those are left that matter.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from actors.venues.base import LookUpRequest
from actors.venues.paper_faults import Faults, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One thing that goes wrong. `when` is `point`, `send`, `stage`, `request` or `second`; `at` counts those.

    At a point (or the point before an order leaves, a `send`) the keeper `crash`es (and one starts after `seconds`,
    here or `elsewhere`), loses its machine's `power`, stands still (`pause`) for so long, `relieved` or not, or a
    `rival` starts on another machine. A stage of the store is `lost`, `slow`, or `undo`ne: a write that came to
    nothing. A request meets the fault of `detail` (see paper_faults.Rule). At a second the store is out of reach
    (`outage`) for so long, or somebody's `hand` interferes.
    """

    kind: str
    when: str
    at: int
    seconds: float = 0.0
    subject: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)

    def detail_of(self, name: str) -> Any:
        """One of its particulars, None where it has none."""
        return self.detail.get(name)

    def __str__(self) -> str:
        """As a person reads it."""
        lasts = f" for {self.seconds:g} s" if self.seconds else ""
        more = " ".join(f"{name}={value}" for name, value in self.detail.items())
        return f"{self.kind} {self.subject} at {self.when} {self.at}{lasts} {more}".replace("  ", " ").rstrip()


class NeverWrongTwice(Faults):
    """The faults of a campaign's exchange: no keeper looks the same order up wrongly twice in a row.

    Two wrong look-ups in a row are believed (docs/PROOF.md, "What is not claimed"). One without an answer is none.
    """

    def __init__(self) -> None:
        super().__init__()
        self._wrong: set[tuple[str, str]] = set()

    def take(self, on: str, subject: object, now: float) -> Rule | None:
        """The rule for this subject, save one that would make a second read wrong."""
        rule = super().take(on, subject, now)
        if not isinstance(subject, LookUpRequest):
            return rule
        read = (subject.request_id.rpartition("-")[0], subject.client_order_id)
        if rule is not None and (rule.lose or rule.error):
            return rule
        if rule is None or not (rule.absent or rule.behind_executions):
            self._wrong.discard(read)
        elif read in self._wrong:
            self._wrong.discard(read)
            return None
        else:
            self._wrong.add(read)
        return rule


def crash_at(point: int, *, down: float = 0.0) -> Trouble:
    """The keeper vanishes at this point, and starts again on its own machine."""
    return Trouble(kind="crash", when="point", at=point, seconds=down)


def draw_crashes(dice: random.Random, number: int, points: int, *, lost: bool) -> list[Trouble]:
    """So many crashes in a story of so many points: early ones are as likely as late ones, and some come in pairs."""
    found: list[Trouble] = []
    at = 0
    for _ in range(number):
        again = found and dice.random() < 0.4
        at = at + dice.randint(1, 40) if again else dice.randint(1, points)
        found.append(crash_at(at, down=dice.choice((0.0, 0.3, 2.0, 7.0)) if lost else 0.0))
    return found


def draw_keeper_troubles(dice: random.Random, number: int, points: int) -> list[Trouble]:
    """Crashes, pauses, power cuts and rivals."""
    found: list[Trouble] = []
    at = 0
    for _ in range(number):
        again = found and dice.random() < 0.35
        at = at + dice.randint(1, 30) if again else dice.randint(1, points)
        kind = dice.choice(("crash", "crash", "crash", "pause", "pause", "power", "rival"))
        detail: dict[str, Any] = {}
        seconds = 0.0
        if kind in ("crash", "power"):
            seconds = dice.choice((0.0, 0.3, 2.0, 7.0))
            detail = {"elsewhere": True} if kind == "crash" and dice.random() < 0.35 else {}
        elif kind == "pause":
            seconds = dice.choice((0.5, 3.0, 11.0, 14.0))
            detail = {"relieved": True} if dice.random() < 0.75 else {}
        found.append(Trouble(kind=kind, when="point", at=at, seconds=seconds, detail=detail))
    return found


def draw_late_sends(dice: random.Random) -> list[Trouble]:
    """A keeper that stands still just as an order or a cancel leaves it, while another one takes over."""
    if dice.random() < 0.75:
        return []
    detail = {"relieved": True}
    return [Trouble(kind="pause", when="send", at=dice.randint(1, 9), seconds=dice.choice((11.0, 14.0)), detail=detail)]


def draw_store_troubles(dice: random.Random) -> list[Trouble]:
    """Lost requests and replies, slow ones, writes that come to nothing, outages shorter and longer than a lease."""
    found = [
        Trouble(
            kind=dice.choice(("lost", "lost", "undo", "slow")),
            when="stage",
            at=dice.randint(1, 260),
            seconds=dice.choice((0.2, 1.5, 4.0)),
        )
        for _ in range(dice.choice((0, 0, 2, 5, 12)))
    ]
    at = 0
    for _ in range(dice.choice((0, 0, 1, 2))):
        at += dice.randint(1, 22)
        lasts = dice.choice((0.5, 2.0, 6.0, 13.0, 20.0))
        found.append(Trouble(kind="outage", when="second", at=at, seconds=lasts))
        at += int(lasts)
    return found


def draw_exchange_troubles(dice: random.Random) -> list[Trouble]:
    """Lost, late, doubled, reordered and lagging answers and reports, refusals, fills in parts."""
    found: list[Trouble] = []
    most = dice.choice((0, 3, 8, 16))
    for _ in range(most):
        subject = dice.choice(
            ("submit", "submit", "cancel", "look_up", "read_account", "read_candles", "report", "fill")
        )
        found.append(
            Trouble(
                kind="fault",
                when="request",
                subject=subject,
                at=dice.randint(0, {"submit": 8, "cancel": 5, "report": 6, "fill": 4}.get(subject, 12)),
                detail=_fault(dice, subject),
            )
        )
    return found


def _fault(dice: random.Random, subject: str) -> dict[str, Any]:
    if subject == "fill":
        part = Decimal(dice.choice(("0.05", "0.1", "0.25")))
        return {"fill": part, "rest": dice.choice(("never", "next_price", 1.5, 2.5))}
    if subject == "report":
        return dice.choice(({"lose": "reply"}, {"repeat": 2, "hold_for": 2}, {"delay_reply_seconds": 1.5}))
    if subject in ("submit", "cancel"):
        return dice.choice(
            (
                {"lose": "reply"},
                {"lose": "reply"},
                {"lose": "request"},
                {"error": "unavailable"},
                {"error": "unknown_after"},
                {"error": "unknown"},
                {"error": "insufficient_margin"} if subject == "submit" else {"repeat": 1},
                {"delay_request_seconds": dice.choice((0.3, 1.2, 1.9, 4.0))},
                {"delay_reply_seconds": dice.choice((0.5, 3.5)), "repeat": 1},
                {"repeat": 1, "hold_for": 1},
            )
        )
    faults: list[dict[str, Any]] = [{"lose": "reply"}, {"delay_reply_seconds": 0.4, "repeat": 1}]
    if subject in ("look_up", "read_account"):
        faults.append({"behind_executions": dice.choice((1, 2))})
    if subject == "look_up":
        faults.append({"absent": True})
    return dice.choice(faults)


def draw_hands(dice: random.Random, ticks: int) -> list[Trouble]:
    """What people and the exchange do by themselves: closes, other plans, cancels, a reduction, a liquidation."""
    found: list[Trouble] = []
    for kind, chance in (
        ("half", 0.35),
        ("amend", 0.2),
        ("cancel", 0.15),
        ("reduce", 0.08),
        ("liquidate", 0.1),
        ("close", 0.08),
    ):
        if dice.random() < chance:
            found.append(Trouble(kind="hand", when="second", at=dice.randint(3, ticks), subject=kind))
    return found
