"""Plays a month against the paper exchange server while keeper, Redis and exchange are killed and meddled with.

Three processes: the keeper (through the real client library), its Redis, and the exchange. At random moments one of
them is killed with -9, requests and streams meet faults, and somebody trades at the same account by hand. In the end
the exchange's own journal is the judge (crash_exchange_judge.py).
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.crash_campaign import HEADER, SYMBOLS, month
from scripts.crash_exchange_judge import Played, Watch, judge
from scripts.crash_exchange_world import ACCOUNT, World

STEP_SECONDS = 0.2
PATIENCE_SECONDS = 120.0
# The share of kills that come just after a request to the exchange, and how long one is waited for.
AIMED = 0.7
AIM_SECONDS = 8.0
QUANTITIES = ("0.5", "0.3", "1.234")
PLANS: tuple[Any, ...] = (
    "runner",
    {
        "stop": {"percent": "1.5"},
        "targets": [
            {"at": {"percent": "0.6"}, "close": "0.4", "order": "limit", "then": {"stop": {"percent": "0"}}},
            {"at": {"percent": "1.2"}, "close": "0.3", "order": "limit"},
            {"at": {"percent": "1.8"}, "close": "0", "then": {"trail": {"percent": "0.5"}}},
        ],
    },
    {
        "stop": {"percent": "2"},
        "trail": {"percent": "1.2"},
        "targets": [{"at": {"percent": "0.8"}, "close": "0.5"}],
        "time_limit_seconds": "90",
    },
)
LOSSES: tuple[dict[str, Any], ...] = (
    {"on": "POST order", "hang_before": 1.0},
    {"on": "POST order", "hang_after": 3.0},
    {"on": "POST order", "drop_before": True},
    {"on": "POST order", "drop_after": True},
    {"on": "POST order", "truncate": 20, "executed": True},
    {"on": "POST order", "html": True},
    {"on": "POST order", "html": True, "executed": True},
    {"on": "POST order", "code": -1007, "status": 408, "executed": True},
    {"on": "POST order", "code": -1001, "status": 503},
    {"on": "POST algoOrder", "drop_after": True},
    {"on": "POST algoOrder", "drop_before": True},
    {"on": "POST algoOrder", "hang_after": 3.0},
    {"on": "POST algoOrder", "html": True, "executed": True},
    {"on": "DELETE algoOrder", "drop_after": True},
    {"on": "DELETE algoOrder", "code": -1007, "status": 408},
    {"on": "DELETE order", "drop_before": True},
    {"on": "GET order", "drop_before": True, "times": 2},
    {"on": "GET algoOrder", "html": True, "times": 2},
    {"on": "GET positionRisk", "behind_executions": 1, "times": 2},
    {"on": "GET userTrades", "code": -1000, "status": 500, "times": 2},
    {"on": "*", "code": -1003, "status": 429, "retry_after": 1, "times": 3},
    {"on": "fill", "fill": "0.1", "rest": "next_price"},
    {"on": "fill", "fill": "0.2", "rest": "never"},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """What to play: `kills` in all, of the three processes in turn; `speed` market seconds pass in one."""

    bars: int = 45_031
    kills: int = 50
    seed: int = 1
    speed: int = 3600
    faults_a_minute: float = 20.0
    hands_a_minute: float = 4.0

    @property
    def seconds(self) -> float:
        """How long the market lasts when nothing stops it."""
        return self.bars * 60 / self.speed


@dataclass(slots=True)
class Meddler:
    """Plays one campaign: opens whatever slot is free, kills, injects, trades by hand."""

    campaign: Campaign
    world: World
    chance: random.Random
    watch: Watch = field(default_factory=Watch)
    asked: dict[str, Played] = field(default_factory=dict)
    kills: dict[str, int] = field(default_factory=lambda: {"keeper": 0, "redis": 0, "exchange": 0})
    faults: int = 0
    hands: dict[str, int] = field(default_factory=dict)
    kinds: tuple[str, ...] = ("keeper", "exchange", "redis")
    _numbers: int = 0

    def play(self) -> None:
        """Until the market has ended and every kill has taken place."""
        campaign, chance = self.campaign, self.chance
        began = time.monotonic()
        at = sorted(chance.uniform(3, campaign.seconds * 0.95) for _ in range(campaign.kills))
        due = list(zip(at, [self.kinds[index % len(self.kinds)] for index in range(campaign.kills)], strict=True))
        last = began
        while due or time.monotonic() - began < campaign.seconds:
            now = time.monotonic()
            share, last = (now - last) / 60, now
            while due and now - began >= due[0][0]:
                self._kill(due.pop(0)[1])
            if chance.random() < campaign.faults_a_minute * share:
                self._fault()
            if chance.random() < campaign.hands_a_minute * share:
                self._hand()
            self._open_free_slots()
            self._command()
            time.sleep(STEP_SECONDS)

    def story(self) -> str:
        """What was done to it."""
        killed = ", ".join(f"{name} {count}" for name, count in self.kills.items())
        hands = ", ".join(f"{name} {count}" for name, count in sorted(self.hands.items()))
        return f"killed: {killed}; {self.faults} faults; by hand: {hands or 'nothing'}"

    # -- kills ---------------------------------------------------------------------------------------------------------

    def _kill(self, which: str) -> None:
        self._aim()
        if which == "keeper":
            self.world.keeper.kill()
        elif which == "exchange":
            self.world.exchange.kill()
        elif not self.world.kill_redis():
            which = "keeper"
            self.world.keeper.kill()
        self.kills[which] += 1

    def _aim(self) -> None:
        """Wait for the moment."""
        if self.chance.random() < AIMED:
            # In the middle of something: an order or a cancellation has just arrived at the exchange.
            self.world.await_request(AIM_SECONDS)
            time.sleep(self.chance.uniform(0, 0.05))
        else:
            time.sleep(self.chance.uniform(0, 0.3))

    # -- faults --------------------------------------------------------------------------------------------------------

    def _fault(self) -> None:
        kind = self.chance.random()
        if kind < 0.8:
            done = self.world.control("faults", self.chance.choice(LOSSES))
        elif kind < 0.88:
            done = self.world.control("streams", {"drop": self.chance.choice(("all", "user", "market"))})
        elif kind < 0.94:
            done = self.world.control("streams", {"silence": "all", "seconds": 4})
        else:
            done = self.world.control("clock", {"skew_ms": self.chance.choice((-4000, 4000, 0, 0))})
        self.faults += done is not None

    # -- somebody's hands ----------------------------------------------------------------------------------------------

    def _hand(self) -> None:
        state = self.world.control("state", method="GET")
        symbol = self.chance.choice(SYMBOLS)
        if state is None:
            return
        held = state["accounts"][ACCOUNT]["positions"].get(symbol)
        if held is None or float(held["quantity"]) == 0:
            return
        what = self.chance.choice(("reduce", "close", "flip", "adl", "fund", "cancel", "foreign"))
        if self._do(what, symbol, held["quantity"]):
            self.hands[what] = self.hands.get(what, 0) + 1

    def _do(self, what: str, symbol: str, quantity: str) -> bool:
        world, slot = self.world, {"account": ACCOUNT, "symbol": symbol}
        size, side = abs(float(quantity)), "SELL" if float(quantity) > 0 else "BUY"
        if what in ("reduce", "close", "flip"):
            share = {"reduce": 0.25, "close": 1, "flip": 1.5}[what]
            order = {**slot, "side": side, "quantity": f"{size * share:.3f}"}
            if what != "flip":
                order["reduceOnly"] = "true"
            return world.control("order", order) is not None
        if what == "adl":
            return world.control("adl", {**slot, "quantity": f"{size / 4:.3f}"}) is not None
        if what == "fund":
            return world.control("fund", {**slot, "amount": "-0.25"}) is not None
        if what == "cancel":
            found = world.control("journal", {"account": ACCOUNT}, method="GET") or {"rests": []}
            open_stops = [r for r in found["rests"] if r["symbol"] == symbol and r["ended"] is None]
            return bool(open_stops) and (
                world.control("order", {**slot, "client_order_id": open_stops[-1]["client_order_id"]}, method="DELETE")
                is not None
            )
        price = 1.0 if side == "SELL" else 900_000.0
        order = {**slot, "type": "STOP_MARKET", "side": side, "quantity": f"{size / 2:.3f}", "triggerPrice": f"{price}"}
        return world.control("order", {**order, "reduceOnly": "true"}) is not None

    # -- people at the keeper ------------------------------------------------------------------------------------------

    def _open_free_slots(self) -> None:
        """One position in every slot; a request without an answer is repeated with its id."""
        for symbol in SYMBOLS:
            pending = next((one for one in self.asked.values() if one.symbol == symbol and not one.answered), None)
            if pending is None and any(one.symbol == symbol and not one.ended for one in self.asked.values()):
                self._look(symbol)
                continue
            self._ask(pending or self._next(symbol))

    def _next(self, symbol: str) -> Played:
        self._numbers += 1
        one = Played(
            id=f"p{self._numbers}",
            symbol=symbol,
            side=self.chance.choice(("long", "short")),
            quantity=self.chance.choice(QUANTITIES),
            plan=self.chance.choice(PLANS),
        )
        self.asked[one.id] = one
        return one

    def _ask(self, one: Played) -> None:
        body = {
            "id": one.id,
            "account": ACCOUNT,
            "symbol": one.symbol,
            "side": one.side,
            "quantity": one.quantity,
            "plan": one.plan,
        }
        answer = self.world.post("/v1/positions", body)
        if answer is None or answer.status_code in (503, 504):
            return
        if answer.status_code in (200, 201):
            one.answered = True
            return
        code = answer.json()["error"]["code"]
        if code == "unmanaged_position":
            # Somebody's hands left this here: they take it away again.
            self.world.flatten(one.symbol)
        elif code not in ("closing", "slot_taken", "no_price"):
            raise SystemExit(f"opening {one.id} was answered {answer.status_code}: {answer.text}")

    def _look(self, symbol: str) -> None:
        for one in self.asked.values():
            if one.symbol == symbol and one.answered and not one.ended:
                found = self.world.get(f"/v1/positions/{one.id}")
                if found is not None:
                    one.ended = found["phase"] == "closed"
                    self._watching().saw(found)

    def _watching(self) -> Watch:
        return self.watch

    def _command(self) -> None:
        """Now and then somebody closes a part, or everything; a repeat of the request closes once."""
        if self.chance.random() > 0.01:
            return
        running = [one for one in self.asked.values() if one.answered and not one.ended]
        if not running:
            return
        one = self.chance.choice(running)
        fraction = self.chance.choice(("0.2", "1"))
        request = f"close-{one.id}-{self.chance.randrange(1000)}"
        for _ in range(2):
            answer = self.world.post(f"/v1/positions/{one.id}/close", {"fraction": fraction, "request_id": request})
            if answer is not None and answer.status_code == 202:
                told = answer.json()
                if told["leg"].startswith("manual-"):
                    # While everything is closing already, the answer names the leg that does it.
                    one.manual[told["leg"]] = told["quantity"]


def run(campaign: Campaign, folder: Path, *, say: Callable[[str], object] = print) -> list[str]:
    """Play one campaign; everything that the journal holds against it."""
    rows = month(campaign.bars)
    market = folder / "prices.csv"
    market.write_text(HEADER + "".join(rows))
    chance = random.Random(campaign.seed)
    world = World(folder, market, speed=campaign.speed)
    meddler = Meddler(campaign, world, chance)
    try:
        world.start()
        world.wait(world.ready, PATIENCE_SECONDS, "the keeper did not become ready")
        meddler.play()
        world.calm()
        world.wait(lambda: world.quiet(meddler.asked), PATIENCE_SECONDS, "the keeper did not come to rest")
        found = world.collect()
        return judge(
            world.audit(),
            found,
            meddler.asked,
            tags=[world.order_tag()],
            state=world.control("state", method="GET"),
            outages=world.outages(),
            watch=meddler.watch,
            say=say,
            story=meddler.story(),
        )
    finally:
        world.stop()


def main() -> None:
    """Read the options, play, exit 1 on anything the journal holds against it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exchange", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--kills", type=int, default=50, help="kill -9 of keeper, exchange and Redis in turn")
    parser.add_argument("--seed", type=int, default=1, help="chooses moments, faults and hands")
    parser.add_argument("--bars", type=int, default=45_031, help="how much of the month to play")
    parser.add_argument("--speed", type=int, default=3600, help="seconds of the market that pass in one")
    parser.add_argument("--keep", type=Path, help="a new folder to leave everything in")
    options = parser.parse_args()
    campaign = Campaign(bars=options.bars, kills=options.kills, seed=options.seed, speed=options.speed)
    if options.keep is not None:
        options.keep.mkdir(parents=True)
        sys.exit(1 if run(campaign, options.keep) else 0)
    with tempfile.TemporaryDirectory(prefix="exitkeeper-crash-") as folder:
        sys.exit(1 if run(campaign, Path(folder)) else 0)


if __name__ == "__main__":
    try:
        main()
    except httpx.HTTPError as error:
        raise SystemExit(f"lost touch: {error}") from error
