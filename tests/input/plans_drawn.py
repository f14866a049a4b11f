"""Plans as they are sent, drawn at random: every kind of level and distance, for longs and shorts, always acceptable.

All are drawn in whole units of price from an entry at 1000, and then said in percents, prices, ATRs or Rs, so that each
kind of level is reached by the same walks of the price.
"""

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

ENTRY = 1000
ATR = 8

Draw = st.DrawFn


def plain(number: Decimal | int) -> str:
    """A decimal as it is sent."""
    return f"{Decimal(number):f}"


def level(draw: Draw, distance: int, sign: int, *, gain: bool, risk: int, also: tuple[dict[str, Any], ...] = ()) -> Any:
    """A level so many units of price from the entry, in profit (`gain`) or in loss, in one of its ways to be said."""
    toward = sign if gain else -sign
    ways: list[dict[str, Any]] = [
        {"percent": plain(Decimal(distance) / 10)},
        {"price": plain(ENTRY + toward * distance)},
        {"atr": plain(Decimal(distance) / ATR)},
        {"r": plain(round(Decimal(distance) / risk, 4))},
        *also,
    ]
    return draw(st.sampled_from(ways))


def trail(draw: Draw) -> dict[str, Any]:
    """A distance, sometimes clamped."""
    size = draw(st.integers(2, 40))
    body: dict[str, Any] = draw(
        st.sampled_from(
            [{"percent": plain(Decimal(size) / 10)}, {"price": plain(size)}, {"atr": plain(Decimal(size) / ATR)}]
        )
    )
    if draw(st.integers(0, 3)) == 0:
        body["min_percent"] = plain(Decimal(draw(st.integers(1, 20))) / 10)
    if draw(st.integers(0, 3)) == 0:
        body["max_percent"] = plain(Decimal(draw(st.integers(20, 50))) / 10)
    return body


def then(draw: Draw, sign: int, risk: int, earlier: int) -> dict[str, Any]:
    """What a target does besides closing."""
    body: dict[str, Any] = {}
    if draw(st.booleans()):
        also: list[dict[str, Any]] = [{"breakeven": "price"}, {"breakeven": "fees"}, {"percent": "0"}]
        if earlier:
            also.append({"target": draw(st.integers(1, earlier))})
        body["stop"] = level(draw, draw(st.integers(-8, 10)), sign, gain=False, risk=risk, also=tuple(also))
    if draw(st.integers(0, 2)) == 0:
        body["trail"] = trail(draw)
    return body


@st.composite
def plans(draw: Draw, sign: int, *, resting: bool) -> dict[str, Any]:
    """A plan for an entry at about 1000."""
    risk = draw(st.integers(4, 60))
    plan: dict[str, Any] = {"atr": str(ATR), "max_slippage_percent": draw(st.sampled_from(["0.2", "5", "100"]))}
    stops = [{"percent": plain(Decimal(risk) / 10)}, {"price": plain(ENTRY - sign * risk)}]
    plan["stop"] = draw(st.sampled_from([*stops, {"atr": plain(Decimal(risk) / ATR)}]))
    if draw(st.integers(0, 3)) == 0:
        plan["trail"] = trail(draw)
    gains = sorted(draw(st.sets(st.integers(5, 60), max_size=4)))
    tenths, targets, former = 10, [], 2
    for number, gain in enumerate(gains):
        close = draw(st.integers(0, tenths)) if number + 1 < len(gains) else draw(st.sampled_from([0, tenths, 1]))
        close = min(close, tenths)
        tenths -= close
        at: Any = level(draw, gain, sign, gain=True, risk=risk)
        if gain - former > 1 and draw(st.integers(0, 3)) == 0:
            # The same way of saying it, so that no rounding of the entry can turn their order round.
            nearer = draw(st.integers(former + 1, gain - 1))
            at = [{"price": plain(ENTRY + sign * gain)}]
            at += [{"price": plain(ENTRY + sign * nearer), "after_seconds": str(draw(st.integers(1, 60)))}]
        target: dict[str, Any] = {"at": at, "close": plain(Decimal(close) / 10)}
        target["then"] = then(draw, sign, risk, number)
        if resting and close and draw(st.booleans()):
            target |= {"order": "limit", "actions_on": draw(st.sampled_from(["fill", "touch"]))}
        targets.append(target)
        former = gain
    plan["targets"] = targets
    if draw(st.integers(0, 2)) == 0:
        plan["time_limit_seconds"] = str(draw(st.integers(1, 200)))
    sources = draw(st.sampled_from([("mark", "bid_ask"), ("mark", "mark"), ("last", "mark"), ("bid_ask", "last")]))
    plan["trigger_by"] = {"stop": sources[0], "targets": sources[1]}
    return plan


@st.composite
def amendments(draw: Draw, former: dict[str, Any], sign: int, hit: frozenset[int], next_number: int) -> dict[str, Any]:
    """A revision: hit targets as they are, others kept, changed or dropped, perhaps a new one, perhaps another stop."""
    result = dict(former)
    targets: list[dict[str, Any]] = []
    room = 10
    for number, target in enumerate(former["targets"], 1):
        numbered = {"number": target.get("number", number), **target}
        what = "keep" if numbered["number"] in hit else draw(st.sampled_from(["keep", "keep", "drop", "change"]))
        tenths = int(Decimal(target["close"]) * 10)
        if what == "drop" or tenths > room:
            continue
        if what == "change":
            tenths = draw(st.integers(0, room))
            numbered = {**numbered, "close": plain(Decimal(tenths) / 10)}
            if not tenths:
                numbered.pop("order", None)
                numbered.pop("actions_on", None)
        room = max(0, room - tenths)
        targets.append(numbered)
    if draw(st.booleans()) and len(targets) < 6:
        far = {"number": next_number, "at": level(draw, draw(st.integers(61, 90)), sign, gain=True, risk=20)}
        targets.append(
            {**far, "close": plain(Decimal(draw(st.integers(0, room))) / 10), "then": then(draw, sign, 20, 0)}
        )
    result["targets"] = targets
    if draw(st.booleans()):
        result["stop"] = {"price": plain(ENTRY + sign * draw(st.integers(-60, 20)))}
    if draw(st.integers(0, 3)) == 0:
        result["time_limit_seconds"] = str(draw(st.integers(1, 400)))
    return result
