"""One fault, played on three open positions, and what must be true of them while it lasts and after it.

btc   passes its first target while the fault lasts: the part is closed once, and not before it could be saved
eth   falls to its stop: the resident order at the exchange closes it, whatever the keeper can do
sol   rises and falls back to its trailing stop, which only the keeper knows: it closes all, saved or not
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from scripts.crash_stand import FLAT, Stand

# Generous, since machines are busy. A protective exit that needs as long as this was waiting for something.
PROTECTED_SECONDS = 20.0
QUANTITIES = {"btc": "0.01", "eth": "0.1", "sol": "1"}
WHOLE, RUNNER = 0.01, 0.004
PLANS: dict[str, object] = {
    "btc": "runner",
    "eth": "runner",
    "sol": {"stop": {"percent": "1.5"}, "trail": {"percent": "1"}, "targets": []},
}


def nothing(stand: Stand) -> None:
    """Neither begin nor end needs anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is done to the stand. `refuses`: nothing can be saved while it lasts.

    `causes`: what the keeper may call it; where any is named, it must call it one of them. `keeps`: the keeper lives
    through it and watches prices; false where it is the keeper that ends.
    """

    name: str
    seconds: float
    begin: Callable[[Stand], None]
    end: Callable[[Stand], None] = nothing
    refuses: bool = True
    keeps: bool = True
    causes: tuple[str, ...] = ()


@dataclass(slots=True)
class Row:
    """What one trial showed, for the table."""

    fault: str
    seconds: float
    causes: list[str] = field(default_factory=list)
    part: str = ""
    resident_seconds: float | None = None
    trailing_seconds: float | None = None
    back_seconds: float | None = None
    wrong: list[str] = field(default_factory=list)

    def cells(self) -> tuple[str, ...]:
        """As the table shows it."""
        return (
            self.fault,
            f"{self.seconds:.0f}",
            ", ".join(self.causes) or "-",
            self.part,
            _seconds(self.resident_seconds),
            _seconds(self.trailing_seconds),
            _seconds(self.back_seconds),
            "; ".join(self.wrong) or "nothing",
        )


HEADINGS = ("fault", "s", "the keeper says", "the part", "stop", "trailing", "settled", "wrong")


def play(stand: Stand, fault: Fault, number: int) -> Row:
    """Play one fault; everything is closed again at the end."""
    names = {symbol: f"f{number}-{symbol}" for symbol in FLAT}
    row = Row(fault.name, fault.seconds)
    stand.move(FLAT)
    # What nobody holds is not listened to after a comeback, and shows its last price until somebody opens it.
    stand.soon(lambda: _quoted(stand, FLAT), 3.0)
    for symbol, name in names.items():
        stand.open(name, QUANTITIES[symbol], PLANS[symbol])
    stand.wait(lambda: _quoted(stand, FLAT), "the keeper does not see the prices")
    lines = len(stand.failures())
    stand.outages.append(time.time())
    fault.begin(stand)
    began = time.monotonic()
    try:
        stand.move({"btc": "60700", "eth": "2950", "sol": "153"})
        row.resident_seconds = _closed_in(stand, "eth", began)
        # Only a keeper that saw the peak has a trailing stop there.
        seen = not fault.keeps or stand.soon(lambda: _quoted(stand, {"sol": "153"}), PROTECTED_SECONDS)
        stand.move({"sol": "151"})
        fell = time.monotonic()
        if fault.keeps and seen:
            row.trailing_seconds = _closed_in(stand, "sol", fell)
        while time.monotonic() < began + fault.seconds:
            _part(stand, fault, row)
            time.sleep(0.1)
        _part(stand, fault, row)
    finally:
        fault.end(stand)
    over = time.monotonic()
    if fault.keeps and row.trailing_seconds is None:
        row.wrong.append("the trailing stop waited for the fault to end")
    if row.resident_seconds is None:
        row.wrong.append("the resident stop did not close")
    stand.wait(stand.ready, f"{fault.name}: the keeper does not come back")
    stand.wait(lambda: _after(stand, names, fault), f"{fault.name}: the keeper does not settle")
    row.back_seconds = time.monotonic() - over
    _end(stand, names, row)
    for name in names.values():
        stand.close(name)
    row.causes = stand.causes(lines)
    if fault.causes and not set(fault.causes) & set(row.causes):
        row.wrong.append(f"it was not called {' or '.join(fault.causes)}")
    for wrong in row.wrong:
        stand.say_wrong(f"{fault.name}: {wrong}")
    return row


def _quoted(stand: Stand, prices: dict[str, str]) -> bool:
    """Whether the keeper has these prices."""
    found = stand.get("/v1/accounts")
    if found is None:
        return False
    feeds = {feed["symbol"][:3].lower(): feed["mark"] or "0" for feed in found["accounts"][0]["feeds"]}
    return all(name not in feeds or Decimal(feeds[name]) == Decimal(price) for name, price in prices.items())


def _closed_in(stand: Stand, symbol: str, since: float) -> float | None:
    """After how long the exchange held nothing of a symbol; None when it still does in the end."""
    if stand.soon(lambda: stand.held(symbol) == 0, PROTECTED_SECONDS):
        return time.monotonic() - since
    return None


def _part(stand: Stand, fault: Fault, row: Row) -> None:
    """The first target's part: never more than it, and nothing at all while its intent cannot be saved."""
    held = stand.held("btc")
    row.part = "waited" if held == WHOLE else "closed"
    if held not in (WHOLE, RUNNER) or (fault.refuses and fault.keeps and held != WHOLE):
        row.wrong.append(f"the exchange holds {held} of btc")


def _after(stand: Stand, names: dict[str, str], fault: Fault) -> bool:
    """Whether everything is as it should be after the fault."""
    found = {symbol: stand.position(name) for symbol, name in names.items()}
    if any(position is None or position["pending"] for position in found.values()):
        return False
    btc = found["btc"]
    # A keeper that did not live through it saw no peak: its sol may still be open, and is protected then.
    must_be_closed = ("eth", "sol") if fault.keeps else ("eth",)
    if not stand.settled(names["sol"]):
        return False
    closed = [found[symbol] for symbol in must_be_closed]
    done = all(position is not None and position["phase"] == "closed" for position in closed)
    return done and btc is not None and btc["protected"] and Decimal(btc["remaining"]) == Decimal(str(RUNNER))


def _end(stand: Stand, names: dict[str, str], row: Row) -> None:
    btc = stand.position(names["btc"])
    if btc is None or not btc["tp1_hit"]:
        row.wrong.append("the target is not hit in the books")
    if [stand.held(symbol) for symbol in ("btc", "eth")] != [RUNNER, 0]:
        row.wrong.append("the exchange does not hold what the plans leave")


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
