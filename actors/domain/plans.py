"""The plan's JSON, in and out: every fault is named at once, nothing is guessed and a float never becomes money.

A target without a number takes its place in the list; in an amendment (`numbers=True`) numbers may be given, and 0
stands for "not numbered yet".
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from actors.domain.errors import Fault, PlanRefused
from actors.domain.model import (
    HUNDRED,
    ZERO,
    Distance,
    DistanceKind,
    Level,
    LevelKind,
    OrderKind,
    Plan,
    PlannedTarget,
    Source,
    TargetStep,
)

MAX_TARGETS = 10
MAX_STEPS = 20
MAX_DIGITS = 40
MAX_SECONDS = Decimal(10 * 365 * 86400)
# An exponent outside this range is a typing mistake, and would make exact arithmetic explode.
MAX_EXPONENT = 18

RUNNER: Mapping[str, Any] = {
    "stop": {"percent": "1.5"},
    "targets": [
        {"at": {"percent": "1"}, "close": "0.6", "then": {"stop": {"percent": "0"}}},
        {"at": {"percent": "2"}, "close": "0", "then": {"trail": {"percent": "0.8"}}},
    ],
}

_PLAN_FIELDS = ("stop", "trail", "targets", "time_limit_seconds", "trigger_by", "max_slippage_percent", "atr")
_TARGET_FIELDS = ("number", "at", "close", "order", "actions_on", "then")
_RESERVED = ("confirm_seconds", "emergency", "close_of")
_LEVELS = tuple(kind.value for kind in LevelKind)
_DISTANCES = tuple(kind.value for kind in DistanceKind)


def decimal_of(value: object) -> Decimal | None:
    """A finite decimal from a string or an integer; None for anything else, floats above all."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    text = str(value).strip()
    if len(text) > MAX_DIGITS or "_" in text:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if (
        not number.is_finite()
        or abs(int(number.as_tuple().exponent)) > MAX_EXPONENT
        or number.adjusted() > MAX_EXPONENT
    ):
        return None
    return number


class _Reader:
    """Reads one plan and collects what is wrong with it."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def fault(self, code: str, field: str, message: str) -> None:
        self.faults.append(Fault(code, field, f"{field}: {message}" if field else message))

    def decimal(self, value: object, field: str, *, low: Decimal | None = None, high: Decimal | None = None) -> Decimal:
        if isinstance(value, float):
            self.fault("float", field, f'a float is not exact; send it as a string, for example "{value}"')
            return ZERO
        number = decimal_of(value)
        if number is None:
            self.fault("not_a_decimal", field, f'{value!r:.60} is not a decimal; send a string such as "1.5"')
            return ZERO
        if low is not None and number < low:
            self.fault("too_small", field, f"{number} is under {low}")
        elif high is not None and number > high:
            self.fault("too_large", field, f"{number} is over {high}")
        return number

    def mapping(self, value: object, field: str) -> Mapping[str, Any]:
        if isinstance(value, Mapping):
            return value
        self.fault("not_an_object", field, f"expected an object, got {type(value).__name__}")
        return {}

    def only(self, body: Mapping[str, Any], allowed: Sequence[str], field: str) -> None:
        for key in body:
            name = f"{field}.{key}" if field else str(key)
            if key in _RESERVED:
                self.fault("reserved", name, "reserved for a later release; leave it out")
            elif key not in allowed:
                self.fault("unknown_field", name, f"unknown field; known here: {', '.join(allowed)}")

    def level(self, value: object, field: str, *, also: tuple[str, ...] = ()) -> Level:
        body = self.mapping(value, field)
        self.only(body, (*_LEVELS, *also), field)
        given = [key for key in body if key in _LEVELS]
        if len(given) != 1:
            self.fault("level", field, f"give exactly one of {', '.join(_LEVELS)}")
            return Level(kind=LevelKind.PERCENT)
        kind = LevelKind(given[0])
        raw = body[kind.value]
        if kind is LevelKind.BREAKEVEN:
            if raw not in ("price", "fees"):
                self.fault("level", f"{field}.breakeven", 'breakeven is "price" or "fees"')
            return Level(kind=kind, fees=raw == "fees")
        number = self.decimal(raw, f"{field}.{kind.value}", low=-HUNDRED * HUNDRED)
        if kind is LevelKind.PRICE and number <= 0:
            self.fault("too_small", f"{field}.price", "a price is above 0")
        if kind is LevelKind.TARGET and (number != number.to_integral_value() or number < 1):
            self.fault("level", f"{field}.target", "name an earlier target by its number, 1 or more")
        return Level(kind=kind, value=number)

    def distance(self, value: object, field: str) -> Distance:
        body = self.mapping(value, field)
        self.only(body, (*_DISTANCES, "min_percent", "max_percent"), field)
        given = [key for key in body if key in _DISTANCES]
        if len(given) != 1:
            self.fault("distance", field, f"give exactly one of {', '.join(_DISTANCES)}")
            return Distance(kind=DistanceKind.PERCENT, value=Decimal(1))
        kind = DistanceKind(given[0])
        number = self.decimal(body[kind.value], f"{field}.{kind.value}")
        if number <= 0 or (kind is DistanceKind.PERCENT and number >= HUNDRED):
            self.fault("distance", f"{field}.{kind.value}", "a distance is above 0, and a percent under 100")
        clamps: dict[str, Decimal] = {}
        for name in ("min_percent", "max_percent"):
            if body.get(name) is not None:
                clamps[name] = self.decimal(body[name], f"{field}.{name}", low=ZERO, high=HUNDRED)
        if len(clamps) == 2 and clamps["min_percent"] > clamps["max_percent"]:
            self.fault("distance", field, "min_percent is over max_percent")
        return Distance(
            kind=kind, value=number, min_percent=clamps.get("min_percent"), max_percent=clamps.get("max_percent")
        )

    def steps(self, value: object, field: str) -> tuple[TargetStep, ...]:
        if not isinstance(value, list | tuple):
            return (TargetStep(level=self.level(value, field)),)
        if not 1 <= len(value) <= MAX_STEPS:
            self.fault("steps", field, f"give 1 to {MAX_STEPS} levels")
            return (TargetStep(level=Level(kind=LevelKind.PERCENT)),)
        steps: list[TargetStep] = []
        for index, item in enumerate(value):
            name = f"{field}.{index}"
            body = self.mapping(item, name)
            after = self.decimal(body.get("after_seconds", 0), f"{name}.after_seconds", low=ZERO, high=MAX_SECONDS)
            steps.append(TargetStep(level=self.level(body, name, also=("after_seconds",)), after_seconds=after))
            if index == 0 and after != 0:
                self.fault("steps", name, "the first level holds from the entry on: leave after_seconds out")
            elif index and after <= steps[index - 1].after_seconds:
                self.fault("steps", name, "after_seconds must grow from level to level")
        return tuple(steps)

    def target(self, value: object, field: str, number: int, numbers: bool) -> PlannedTarget:
        body = self.mapping(value, field)
        self.only(body, _TARGET_FIELDS, field)
        for required in ("at", "close"):
            if required not in body:
                self.fault("missing", f"{field}.{required}", "required")
        given = body.get("number")
        if given is not None:
            if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= 10_000:
                self.fault("number", f"{field}.number", "a target's number is a whole number from 1 on")
            elif not numbers and given != number:
                self.fault("number", f"{field}.number", f"targets of a new plan are numbered in their order: {number}")
            else:
                number = given
        elif numbers:
            number = 0
        close = self.decimal(body.get("close", "0"), f"{field}.close", low=ZERO, high=Decimal(1))
        order, actions_on = self.order(body, field, close)
        then = self.mapping(body.get("then") or {}, f"{field}.then")
        self.only(then, ("stop", "trail"), f"{field}.then")
        return PlannedTarget(
            number=number,
            at=self.steps(body.get("at", {"percent": "0"}), f"{field}.at"),
            close=close,
            order=order,
            actions_on=actions_on,
            then_stop=self.level(then["stop"], f"{field}.then.stop") if then.get("stop") is not None else None,
            then_trail=self.distance(then["trail"], f"{field}.then.trail") if then.get("trail") is not None else None,
        )

    def order(self, body: Mapping[str, Any], field: str, close: Decimal) -> tuple[OrderKind, str]:
        """How a target closes, and when its actions take effect."""
        order, actions_on = body.get("order", "market"), body.get("actions_on")
        if order not in ("market", "limit"):
            self.fault("order", f"{field}.order", '"market" (the default) or "limit"')
        elif order == "limit" and close == 0:
            self.fault("order", f"{field}.order", "a target that closes nothing has no order to rest; leave it out")
        if actions_on not in (None, "fill", "touch"):
            self.fault("actions_on", f"{field}.actions_on", '"fill" (the default) or "touch"')
        elif actions_on is not None and order != "limit":
            message = (
                'belongs to a limit target (the actions of a market target follow its price); add "order": "limit"'
            )
            self.fault("actions_on", f"{field}.actions_on", message)
        return (OrderKind.LIMIT if order == "limit" else OrderKind.MARKET), "touch" if actions_on == "touch" else "fill"

    def source(self, body: Mapping[str, Any], key: str, default: Source) -> Source:
        value = body.get(key, default.value)
        if value not in tuple(source.value for source in Source):
            self.fault("trigger_by", f"trigger_by.{key}", "one of mark, last, bid_ask")
            return default
        return Source(value)


def parse_plan(body: Mapping[str, Any], *, name: str = "", numbers: bool = False) -> Plan:
    """Read a plan. Raises PlanRefused with every fault; percents are of the entry price, before leverage."""
    reader = _Reader()
    body = reader.mapping(body, "")
    reader.only(body, _PLAN_FIELDS, "")
    if "stop" not in body:
        reader.fault("missing", "stop", 'every plan has a stop, for example {"percent": "1.5"}')
    raw_targets = body.get("targets") or []
    if not isinstance(raw_targets, list | tuple) or len(raw_targets) > MAX_TARGETS:
        reader.fault("targets", "targets", f"a list of at most {MAX_TARGETS} targets")
        raw_targets = []
    trigger = reader.mapping(body.get("trigger_by") or {}, "trigger_by")
    reader.only(trigger, ("stop", "targets"), "trigger_by")
    limit = body.get("time_limit_seconds")
    slippage = body.get("max_slippage_percent", "0.2")
    plan = Plan(
        name=name,
        stop=reader.level(body.get("stop", {"percent": "1"}), "stop"),
        trail=reader.distance(body["trail"], "trail") if body.get("trail") is not None else None,
        targets=tuple(
            reader.target(item, f"targets.{index}", index + 1, numbers) for index, item in enumerate(raw_targets)
        ),
        time_limit_seconds=None
        if limit is None
        else reader.decimal(limit, "time_limit_seconds", low=Decimal(1), high=MAX_SECONDS),
        stop_source=reader.source(trigger, "stop", Source.MARK),
        targets_source=reader.source(trigger, "targets", Source.BID_ASK),
        max_slippage_percent=reader.decimal(slippage, "max_slippage_percent", low=ZERO, high=HUNDRED),
        atr=reader.decimal(body["atr"], "atr") if body.get("atr") is not None else None,
    )
    _check_whole(plan, reader)
    if reader.faults:
        raise PlanRefused(tuple(reader.faults))
    return plan


def _check_whole(plan: Plan, reader: _Reader) -> None:
    """What only the whole plan shows: fractions over 1, an ATR that is missing, levels that refer to what is not
    there.
    """
    total = sum((target.close for target in plan.targets), ZERO)
    if total > 1:
        reader.fault("fractions", "targets", f"the closing fractions sum to {total}; they may reach 1 at most")
    if plan.atr is not None and plan.atr <= 0:
        reader.fault("too_small", "atr", "the average true range is above 0")
    if plan.atr is None and "atr" in _kinds(plan):
        reader.fault("missing", "atr", 'a level or distance is given in "atr": give the plan\'s atr value too')
    if plan.stop.kind in (LevelKind.R, LevelKind.TARGET):
        reader.fault("level", "stop", f"the stop itself cannot be given in {plan.stop.kind.value}")
    given = [target.number for target in plan.targets if target.number]
    if len(set(given)) != len(given):
        reader.fault("number", "targets", "two targets have the same number")
    seen: set[int] = set()
    for index, target in enumerate(plan.targets):
        own = target.number
        for level in (*(step.level for step in target.at), *((target.then_stop,) if target.then_stop else ())):
            is_action = level is target.then_stop
            allowed = seen | ({own} if is_action else set())
            if level.kind is LevelKind.TARGET and own and int(level.value) not in allowed:
                reader.fault("level", f"targets.{index}", f"target {level.value} is not an earlier target")
        seen.add(own)


def _kinds(plan: Plan) -> set[str]:
    kinds = {plan.stop.kind.value}
    if plan.trail:
        kinds.add(plan.trail.kind.value)
    for target in plan.targets:
        kinds.update(step.level.kind.value for step in target.at)
        if target.then_stop:
            kinds.add(target.then_stop.kind.value)
        if target.then_trail:
            kinds.add(target.then_trail.kind.value)
    return kinds


def _level_to_dict(level: Level) -> dict[str, Any]:
    if level.kind is LevelKind.BREAKEVEN:
        return {"breakeven": "fees" if level.fees else "price"}
    if level.kind is LevelKind.TARGET:
        return {"target": int(level.value)}
    return {level.kind.value: f"{level.value:f}"}


def _distance_to_dict(distance: Distance) -> dict[str, Any]:
    body = {distance.kind.value: f"{distance.value:f}"}
    if distance.min_percent is not None:
        body["min_percent"] = f"{distance.min_percent:f}"
    if distance.max_percent is not None:
        body["max_percent"] = f"{distance.max_percent:f}"
    return body


def _target_to_dict(target: PlannedTarget) -> dict[str, Any]:
    steps: list[dict[str, Any]] = []
    for step in target.at:
        body = _level_to_dict(step.level)
        if step.after_seconds:
            body["after_seconds"] = f"{step.after_seconds:f}"
        steps.append(body)
    body = {"number": target.number, "at": steps[0] if len(steps) == 1 else steps, "close": f"{target.close:f}"}
    if target.order is OrderKind.LIMIT:
        body["order"] = target.order.value
        body |= {"actions_on": target.actions_on} if target.actions_on != "fill" else {}
    then = {}
    if target.then_stop:
        then["stop"] = _level_to_dict(target.then_stop)
    if target.then_trail:
        then["trail"] = _distance_to_dict(target.then_trail)
    if then:
        body["then"] = then
    return body


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """The plan's JSON, targets with their numbers: what `parse_plan(..., numbers=True)` reads back as the same plan."""
    body: dict[str, Any] = {"stop": _level_to_dict(plan.stop)}
    if plan.trail:
        body["trail"] = _distance_to_dict(plan.trail)
    body["targets"] = [_target_to_dict(target) for target in plan.targets]
    if plan.time_limit_seconds is not None:
        body["time_limit_seconds"] = f"{plan.time_limit_seconds:f}"
    body["trigger_by"] = {"stop": plan.stop_source.value, "targets": plan.targets_source.value}
    body["max_slippage_percent"] = f"{plan.max_slippage_percent:f}"
    if plan.atr is not None:
        body["atr"] = f"{plan.atr:f}"
    return body
