"""Faults of the exchange server, on demand: what becomes of requests on their way there and back.

    {"on": "POST order", "hang_after": 5}                        executed; the answer comes five seconds late
    {"on": "order", "drop_after": true, "times": 2}              executed; the connection is cut instead of an answer
    {"on": "*", "code": -1003, "status": 429, "times": 0}        refused, always
    {"on": "POST order", "code": -1007, "executed": true}        executed, and "execution status unknown"
    {"on": "fill", "fill": "0.4", "rest": "next_price"}          an order is filled in two parts

The first rule that matches takes a request, alone. Chance draws from the rule's seed:
the same requests, the same draws.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from decimal import Decimal, InvalidOperation
from random import Random
from typing import Any, Final

from actors.venues.paper_faults import RESTS

_NUMBERS: Final = ("hang_before", "hang_after", "probability", "retry_after")
_COUNTS: Final = ("times", "skip", "code", "status", "truncate", "behind_executions")
_TRUTHS: Final = ("drop_before", "drop_after", "html", "executed")
_ROOTS: Final = ("/fapi/v1/", "/fapi/v2/", "/fapi/v3/", "/sapi/v1/")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeRule:
    """One fault.

    Which: `on` is an endpoint without its version, with or without its method (`order`, `POST order`,
    `GET positionRisk`; those of the websocket API too), `*` for all, or `fill`. `account`, `symbol` and
    `client_order_id` must be the request's, where given. The first `skip` matches pass, the next `times` (0: all) are
    taken, each with a `probability`.

    What: wait for `hang_before` seconds before it is looked at (its signature then is that much older), for
    `hang_after` seconds before it is answered. `drop_before` cuts the connection unexecuted, `drop_after` executed.
    `truncate` sends only so many bytes of the answer. `html` answers a page, `code` an error (with `message`, `status`,
    `retry_after`), both unexecuted unless `executed`. `behind_executions` lets a read see its symbol without its latest
    executions. `fill` is how much is filled at once, the `rest` at the "next_price", after so many seconds, or "never".
    """

    on: str
    account: str | None = None
    symbol: str | None = None
    client_order_id: str | None = None
    skip: int = 0
    times: int = 1
    probability: float = 1.0
    seed: str = "0"
    hang_before: float = 0.0
    hang_after: float = 0.0
    drop_before: bool = False
    drop_after: bool = False
    truncate: int | None = None
    html: bool = False
    code: int | None = None
    message: str | None = None
    status: int | None = None
    retry_after: float | None = None
    executed: bool = False
    behind_executions: int = 0
    fill: Decimal | None = None
    rest: str | float = "never"

    def said(self) -> dict[str, Any]:
        """What was asked for, as JSON says it."""
        usual = {entry.name: entry.default for entry in fields(self)}
        given = {name: value for name, value in asdict(self).items() if value != usual[name]}
        return {name: str(value) if isinstance(value, Decimal) else value for name, value in given.items()}


@dataclass(slots=True)
class _Armed:
    rule: ExchangeRule
    chance: Random
    matched: int = 0
    taken: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a rule may know a request by."""

    method: str
    path: str
    account: str = ""
    symbol: str = ""
    client_order_ids: frozenset[str] = field(default_factory=frozenset)

    @property
    def names(self) -> tuple[str, ...]:
        """What it is called in a rule's `on`."""
        short = self.path
        for root in _ROOTS:
            short = short.removeprefix(root)
        return ("*", short, f"{self.method} {short}", self.path, f"{self.method} {self.path}")


class ExchangeFaults:
    """The rules in force, the oldest first."""

    def __init__(self) -> None:
        self._armed: list[_Armed] = []

    def add(self, rule: ExchangeRule) -> None:
        """A further rule, after those there are."""
        self._armed.append(_Armed(rule, Random(rule.seed)))

    def clear(self) -> None:
        """No rule is in force any more. What hangs goes on hanging."""
        self._armed.clear()

    def listed(self) -> list[dict[str, Any]]:
        """Every rule, how often it matched, and how often it was taken."""
        return [{**armed.rule.said(), "matched": armed.matched, "taken": armed.taken} for armed in self._armed]

    def take(self, subject: Subject) -> ExchangeRule | None:
        """The rule for this request, if there is one."""
        for armed in self._armed:
            rule = armed.rule
            if rule.on not in subject.names or rule.on == "fill":
                continue
            if self._counts(armed, subject.account, subject.symbol, subject.client_order_ids):
                return rule
        return None

    def take_fill(self, account: str, symbol: str, client_order_id: str) -> ExchangeRule | None:
        """The rule for an order that is about to be filled, if there is one."""
        for armed in self._armed:
            if armed.rule.on == "fill" and self._counts(armed, account, symbol, frozenset((client_order_id,))):
                return armed.rule
        return None

    def _counts(self, armed: _Armed, account: str, symbol: str, ids: frozenset[str]) -> bool:
        rule = armed.rule
        if rule.account not in (None, account) or rule.symbol not in (None, symbol):
            return False
        if rule.client_order_id is not None and rule.client_order_id not in ids:
            return False
        if rule.times and armed.matched >= rule.skip + rule.times:
            return False
        if rule.probability < 1 and armed.chance.random() >= rule.probability:
            return False
        armed.matched += 1
        if armed.matched <= rule.skip:
            return False
        armed.taken += 1
        return True


def read_rule(entry: object) -> ExchangeRule:
    """A rule of JSON. Raises ValueError, which says what is wrong."""
    if not isinstance(entry, Mapping) or "on" not in entry:
        raise ValueError("a rule is an object with `on`")
    known = {each.name for each in fields(ExchangeRule)}
    unknown = sorted(str(name) for name in entry.keys() - known)
    if unknown:
        raise ValueError(f"{', '.join(unknown)} unknown; a rule has {', '.join(sorted(known))}")
    rule = ExchangeRule(**{name: _value(name, value) for name, value in entry.items()})
    if (rule.on == "fill") != (rule.fill is not None):
        raise ValueError("fill is given on fill, and only there")
    if isinstance(rule.rest, str) and rule.rest not in RESTS:
        raise ValueError(f"rest is a number of seconds or one of {', '.join(RESTS)}")
    return rule


def _value(name: str, value: object) -> Any:
    try:
        if name == "fill":
            return Decimal(str(value))
        if name in _NUMBERS or (name == "rest" and not isinstance(value, str)):
            return _at_least_zero(float(str(value)))
        if name in _COUNTS:
            return int(str(value)) if name == "code" else int(_at_least_zero(int(str(value))))
    except (ValueError, InvalidOperation):
        raise ValueError(f"{name} cannot be {value!r}") from None
    wanted = bool if name in _TRUTHS else str
    if not isinstance(value, wanted):
        raise ValueError(f"{name} cannot be {value!r}")
    return value


def _at_least_zero(number: float) -> float:
    if not 0 <= number < float("inf"):
        raise ValueError("below zero")
    return number
