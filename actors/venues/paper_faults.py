"""Faults of a paper exchange, on demand: what tests do to its requests, reports and fills.

    faults.next("submit", position="p1", leg="target-1", lose="reply")       executed; nobody is told
    faults.next("submit", kind=OrderKind.MARKET, delay_request_seconds=3)    arrives (and may have expired) later
    faults.next("look_up", times=2, absent=True)                             found only at the third read
    faults.next("fill", fill=Decimal("0.2"), rest="next_price")              filled in two parts

A rule says on what it acts, which subjects it is for, how often, and what it does; the first rule that matches a
subject takes it, alone. Deterministic: the count of subjects decides, not a clock or chance (`sometimes` draws from a
seed of the test's). Without faults the venue does not look.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from threading import Lock
from typing import Any, Final

from actors.domain.model import Micros, OrderKind, OrderSide
from actors.domain.step import ORDER_TAG_DIGITS, client_order_id
from actors.venues.base import REJECTIONS, OrderUpdated

REQUESTS: Final = ("submit", "cancel", "look_up", "read_account", "read_candles", "survey")
SUBJECTS: Final = (*REQUESTS, "request", "report", "fill")
ERRORS: Final = frozenset({"unavailable", "unknown", "unknown_after", *REJECTIONS})
RESTS: Final = ("never", "next_price")
_EFFECTS: Final = (
    "lose",
    "error",
    "delay_request_seconds",
    "delay_reply_seconds",
    "repeat",
    "hold_for",
    "absent",
    "behind_executions",
    "fill",
)
_READS: Final = ("look_up", "read_account")
# As many orders of one leg as a rule recognises.
_GENERATIONS: Final = 32
_REMEMBERED: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One fault. Everything given under "which" must hold; everything given under "what" happens, together.

    `on` is a request (`submit`, `cancel`, `look_up`, `read_account`, `read_candles`, `survey`; `request` for any of
    them), a `report` (an OrderUpdated) or a `fill` (of a market order, or of a stop as it triggers).

    Which: `position` and `leg` together know an order by its client order id, whichever keeper sent it; `when` is
    asked last, with the subject (the request, the OrderUpdated, or the ledger's row of the order). The first `skip`
    matches pass unharmed, the next `times` (0: all) are taken; with `for_seconds` all until so long after the first.

    What: `lose` the "request" (nothing happens) or the "reply" (executed; nobody is told). `error` is answered instead:
    "unavailable", "unknown" and any code of REJECTIONS without execution, "unknown_after" with it. A request delayed
    by `delay_request_seconds` is executed when it arrives, and its expiry judged then; it is in the ledger meanwhile,
    so that it arrives though its sender has been killed. `delay_reply_seconds` delays only what is told. `repeat` tells
    the same so many times more; `hold_for` holds it back until so many later answers and reports of the account have
    been told (for ever where none follow). A `look_up` may find the order `absent`; it and `read_account` may read the
    slot `behind_executions`: with the last executions taken back, though not orders placed and cancelled.
    `fill` is the quantity filled at once; the `rest` is filled at the "next_price", after so many seconds, or "never"
    (the order expires with what it has).
    """

    on: str
    account: str | None = None
    symbol: str | None = None
    kind: OrderKind | None = None
    side: OrderSide | None = None
    client_order_id: str | None = None
    position: str | None = None
    leg: str | None = None
    when: Callable[[Any], bool] | None = None
    skip: int = 0
    times: int = 1
    for_seconds: float | None = None
    lose: str | None = None
    error: str | None = None
    delay_request_seconds: float = 0.0
    delay_reply_seconds: float = 0.0
    repeat: int = 0
    hold_for: int = 0
    absent: bool = False
    behind_executions: int = 0
    fill: Decimal | None = None
    rest: str | float = "never"

    def __post_init__(self) -> None:
        """Refuse what would never act. Raises ValueError."""
        errors = ", ".join(sorted(ERRORS))
        for wrong, message in (
            (self.on not in SUBJECTS, f"on must be one of {', '.join(SUBJECTS)}, not {self.on!r}"),
            (self.lose not in (None, "request", "reply"), f'lose is "request" or "reply", not {self.lose!r}'),
            (
                self.error not in (None, *ERRORS),
                f"error must be one of {errors}, not {self.error!r}",
            ),
            ((self.position is None) != (self.leg is None), "position and leg know an order only together"),
            ((self.on == "fill") != (self.fill is not None), "fill is given on fill, and only there"),
            (isinstance(self.rest, str) and self.rest not in RESTS, f"rest is a number or one of {', '.join(RESTS)}"),
            (
                self.on == "report" and self._needs_request,
                "a report can only be treated as a reply",
            ),
            (self.absent and self.on != "look_up", "absent is for look_up"),
            (self.behind_executions and self.on not in _READS, f"behind_executions is for {' and '.join(_READS)}"),
            (min(self.numbers) < 0, "a number is below zero"),
        ):
            if wrong:
                raise ValueError(message)

    @property
    def numbers(self) -> tuple[float, ...]:
        """Every number of it, none of which may be negative."""
        seconds = (self.delay_request_seconds, self.delay_reply_seconds, self.for_seconds or 0)
        counts = (self.skip, self.times, self.repeat, self.hold_for, self.behind_executions)
        return (*seconds, *counts, 0 if isinstance(self.rest, str) else self.rest, float(self.fill or 0))

    def said(self) -> str:
        """What it does, for the log."""
        done = {name: getattr(self, name) for name in _EFFECTS}
        return " ".join(f"{name}={value}" for name, value in done.items() if value)

    @property
    def _needs_request(self) -> bool:
        return bool(self.lose == "request" or self.error or self.delay_request_seconds)


@dataclass(frozen=True, slots=True)
class Partial:
    """How an order is filled: so much now, the rest at `due_at` (None: at the next price), or never."""

    quantity: Decimal
    due_at: Micros | None = None
    ends: bool = False


@dataclass(slots=True)
class _Armed:
    """A rule, and how often it has matched so far."""

    rule: Rule
    ids: frozenset[str]
    matched: int = 0
    until: float | None = None

    def takes(self, on: str, subject: object, now: float) -> bool:
        """Whether this subject is the rule's; a match is counted."""
        if not self._matches(on, subject) or (self.until is not None and now > self.until):
            return False
        rule = self.rule
        if rule.for_seconds is None and rule.times and self.matched >= rule.skip + rule.times:
            return False
        if rule.when is not None and not rule.when(subject):
            return False
        self.matched += 1
        if self.matched <= rule.skip:
            return False
        if rule.for_seconds is not None and self.until is None:
            self.until = now + rule.for_seconds
        return True

    def _matches(self, on: str, subject: object) -> bool:
        rule = self.rule
        if rule.on != on and not (rule.on == "request" and on in REQUESTS):
            return False
        if rule.account not in (None, getattr(subject, "account", None)):
            return False
        about = subject.order if isinstance(subject, OrderUpdated) else subject
        for name in ("symbol", "kind", "side", "client_order_id"):
            wanted = getattr(rule, name)
            if wanted is not None and wanted != getattr(about, name, None):
                return False
        return not self.ids or str(getattr(about, "client_order_id", ""))[ORDER_TAG_DIGITS:] in self.ids


class Faults:
    """The rules in force, the oldest first. Used from the test's thread and the exchange's."""

    def __init__(self, *rules: Rule) -> None:
        self._lock = Lock()
        self._armed: list[_Armed] = []
        self._taken: deque[tuple[Rule, object]] = deque(maxlen=_REMEMBERED)
        for rule in rules:
            self.add(rule)

    @property
    def taken(self) -> list[tuple[Rule, object]]:
        """The latest rules that acted, each with what it acted on; a thousand at most."""
        with self._lock:
            return list(self._taken)

    def add(self, rule: Rule) -> Rule:
        """A further rule, after those there are."""
        armed = _armed(rule)
        with self._lock:
            self._armed.append(armed)
        return rule

    def next(self, on: str, **fields: Any) -> Rule:
        """A rule for the next subject (or the next `times`). Raises ValueError and TypeError for what no rule says."""
        return self.add(Rule(on=on, **fields))

    def always(self, on: str, **fields: Any) -> Rule:
        """A rule for every subject from now on."""
        return self.add(Rule(on=on, times=0, **fields))

    def sometimes(self, on: str, *, seed: object, share: float, **fields: Any) -> Rule:
        """A rule for a share of the subjects, drawn from a seed: the same subjects give the same draws."""
        chance, also = Random(str(seed)), fields.pop("when", None)
        return self.always(
            on, when=lambda subject: (also is None or also(subject)) and chance.random() < share, **fields
        )

    def clear(self) -> None:
        """No rule is in force any more. What is delayed or held already stays so."""
        self.replace(())

    def replace(self, rules: tuple[Rule, ...]) -> None:
        """These rules and no others, all counted anew."""
        armed = [_armed(rule) for rule in rules]
        with self._lock:
            self._armed = armed

    def take(self, on: str, subject: object, now: float) -> Rule | None:
        """The rule for this subject, if there is one. `now` is the runtime's monotonic time."""
        with self._lock:
            for armed in self._armed:
                if armed.takes(on, subject, now):
                    self._taken.append((armed.rule, subject))
                    return armed.rule
        return None


def _armed(rule: Rule) -> _Armed:
    """Orders of a leg are known by the end of their client order id, for the tag before it is the installation's."""
    ids: frozenset[str] = frozenset()
    if rule.position is not None and rule.leg is not None:
        ids = frozenset(client_order_id("", rule.position, rule.leg, number) for number in range(_GENERATIONS))
    return _Armed(rule, ids)
