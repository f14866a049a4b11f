"""Everything that can go wrong at once, drawn from a seed: a hundred and fifty lives are played in it."""

import random
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pykka

from actors.domain.model import OrderKind, OrderSide, Position, Side
from actors.domain.plans import RUNNER, parse_plan, plan_to_dict
from actors.domain.shares import in_flight, runner_share, shares
from actors.messages import AmendRequest, Opened, Refusal
from actors.runtime.base import tell
from actors.venues.paper_ledger import AccountRead
from persistence.codec import decode_snapshot
from tests.simulation.house import Keeper

PLANS: tuple[Mapping[str, Any], ...] = (
    RUNNER,
    {
        "stop": {"percent": "1.5"},
        "targets": [
            {"at": {"percent": "0.6"}, "close": "0.3", "then": {"stop": {"percent": "0.5"}}},
            {"at": {"percent": "1"}, "close": "0.3", "then": {"stop": {"percent": "0"}}},
            {"at": {"percent": "1.6"}, "close": "0.2", "then": {"trail": {"percent": "0.7"}}},
        ],
    },
    {
        "stop": {"percent": "1"},
        "targets": [{"at": {"percent": "0.7"}, "close": "0.5"}, {"at": {"percent": "1.4"}, "close": "0.5"}],
    },
    {"stop": {"percent": "1.2"}, "trail": {"percent": "1.2"}, "time_limit_seconds": "45", "targets": []},
    {
        "stop": {"percent": "1.5"},
        "trail": {"percent": "1.5"},
        "targets": [{"at": {"percent": "0.8"}, "close": "0.4"}],
        "time_limit_seconds": "60",
    },
)
RESTING_PLANS: tuple[Mapping[str, Any], ...] = (
    {
        "stop": {"percent": "1.5"},
        "targets": [
            {"at": {"percent": "0.5"}, "close": "0.6", "order": "limit", "then": {"stop": {"percent": "0"}}},
            {"at": {"percent": "1.2"}, "close": "0", "then": {"trail": {"percent": "0.8"}}},
        ],
    },
    {
        "stop": {"percent": "1.5"},
        "targets": [
            {"at": {"percent": "0.4"}, "close": "0.3", "order": "limit", "actions_on": "touch"},
            {"at": {"percent": "0.8"}, "close": "0.3", "then": {"stop": {"percent": "0"}}},
            {"at": {"percent": "1.2"}, "close": "0.2", "order": "limit", "then": {"trail": {"percent": "0.7"}}},
        ],
    },
    {
        "stop": {"percent": "1"},
        "targets": [
            {"at": {"percent": "0.5"}, "close": "0.5", "order": "limit"},
            {"at": {"percent": "1"}, "close": "0.5", "order": "limit"},
        ],
        "time_limit_seconds": "70",
    },
    {
        "stop": {"percent": "1.5"},
        "trail": {"percent": "1.5"},
        "targets": [
            {
                "at": [
                    {"percent": "1.5"},
                    {"percent": "0.9", "after_seconds": "15"},
                    {"percent": "0.4", "after_seconds": "30"},
                ],
                "close": "0.4",
                "order": "limit",
            }
        ],
    },
)
GENERATIONS = 40
TICKS = 45
QUIET_TICKS = 75


class Weather:
    """One seed's faults, and what must hold in them after every turn."""

    def __init__(self, folder: Path, seed: int, plans: Sequence[Mapping[str, Any]] = PLANS) -> None:
        """The market of a random walk, a keeper that has not started yet."""
        self.dice = random.Random(seed)
        self.side = self.dice.choice((Side.LONG, Side.SHORT))
        self.plan = parse_plan(self.dice.choice(plans))
        self.keeper = Keeper(folder, [60000], seed=seed, speed=1.0)
        self.calm = False
        self.crashes = 0
        self.crashes_left = self.dice.randint(0, 5)
        self.crash_chance = self.dice.choice((0.002, 0.01, 0.03))
        self.stage_chance = self.dice.choice((0.0, 0.02, 0.1))
        self.outages = self._outages()
        self.versions: dict[str, int] = {}
        self.stop: Decimal | None = None
        self._last = ""
        self.legs = {
            planned.number: {self.keeper.order_id(f"target-{planned.number}", again) for again in range(GENERATIONS)}
            for planned in self.plan.targets
        }
        # Somebody who cancels what rests for a target, now and then.
        self.amended = 0
        self.meddles = 0.08 if plans is RESTING_PLANS and self.dice.random() < 0.6 else 0.0
        self.keeper._fault = self._fault  # type: ignore[method-assign]
        self.keeper.simulator.before_turn = self._before_turn
        self._brew()

    # -- what happens --------------------------------------------------------------------------------------------------

    def _outages(self) -> list[tuple[float, float]]:
        """From when until when the store is out of reach, in seconds; some longer than a lease."""
        found, at = [], 0.0
        for _ in range(self.dice.randint(0, 3)):
            at += self.dice.uniform(1, 25)
            lasts = self.dice.choice((0.5, 2.0, 6.0, 14.0, 30.0))
            found.append((at, at + lasts))
            at += lasts
        return found

    def _brew(self) -> None:
        """Rules for requests and reports; each keeps to a share of them."""
        dice, faults = self.dice, self.keeper.faults
        share = dice.choice((0.0, 0.1, 0.3, 0.6))
        for name in ("submit", "cancel"):
            for fault in (
                {"lose": "reply"},
                {"lose": "request"},
                {"error": "unavailable"},
                {"error": "unknown_after"},
                {"delay_request_seconds": dice.choice((0.3, 1.2, 1.9, 4.0))},
                {"delay_reply_seconds": dice.choice((0.5, 3.5))},
                {"repeat": 1, "hold_for": 1},
            ):
                faults.sometimes(name, seed=dice.random(), share=share / 4, **fault)
        for name in ("look_up", "read_account", "read_candles"):
            faults.sometimes(name, seed=dice.random(), share=share / 2, lose="reply")
            faults.sometimes(name, seed=dice.random(), share=share, delay_reply_seconds=0.4, repeat=1)
        for rest in ("never", "next_price", 2.5):
            part = Decimal(dice.choice(("0.05", "0.1", "0.25")))
            faults.sometimes("fill", seed=dice.random(), share=share / 6, fill=part, rest=rest)
        faults.sometimes("report", seed=dice.random(), share=share, lose="reply")
        faults.sometimes("report", seed=dice.random(), share=share, repeat=2, hold_for=2)

    def _seconds(self) -> float:
        return self.keeper.simulator.clock.elapsed / 1_000_000

    def _fault(self, stage: str) -> None:
        """Asked at every stage of every request to the store."""
        if self.calm:
            return
        if any(begins <= self._seconds() < ends for begins, ends in self.outages):
            raise ConnectionError(f"the store is out of reach at {stage}")
        if self.dice.random() < self.stage_chance:
            raise ConnectionError(f"lost at {stage}")
        if self._may_crash(self.crash_chance * 4):
            self.keeper.crash()

    def _may_crash(self, chance: float) -> bool:
        if self.calm or not self.crashes_left or self.dice.random() >= chance:
            return False
        self.crashes_left -= 1
        return True

    def _before_turn(self, actor: pykka.Actor, message: object) -> None:
        last, self._last = self._last, type(actor).__name__
        if last == "PaperActor":
            self.check_exchange()
        elif last == "PersistenceActor":
            self.check_store()
        if self._may_crash(self.crash_chance):
            self.keeper.crash()

    def boot(self) -> None:
        """Start a keeper: now and then one that nobody can prove its predecessor dead to."""
        trusted = self.dice.random() < 0.6
        count = self.keeper.boots + 1
        self.keeper.boot(owner=f"keeper-{count}" if trusted else f"stranger-{count}", trust_the_dead=trusted)

    def live(self, seconds: float) -> None:
        """Let time pass; a keeper that died is started again after a while."""
        left = int(seconds * 2)
        while left > 0:
            if not self.keeper.alive:
                self.crashes += 1
                self.boot()
            self.keeper.simulator.run(for_seconds=0.5, limit=20_000)
            left -= 1
        assert self.keeper.simulator.failures == []

    def play(self) -> Position | None:
        """One life: opened, through the storm, and then into the calm; the position as it is then."""
        keeper, dice = self.keeper, self.dice
        self.boot()
        price, path = 60000.0, []
        drift = dice.choice((-0.0004, 0.0, 0.0006, 0.0012)) * self.side.sign
        for _ in range(TICKS):
            price *= 1 + drift + dice.gauss(0, 0.003)
            path.append(round(price, 1))
        for _ in range(60):
            if not keeper.alive:
                self.boot()
            reply = keeper.ask_open(side=self.side, plan=self.plan)
            self.live(1)
            if reply.resolved and isinstance(reply.get(timeout=0), Opened):
                break
        keeper.add_prices(path)
        self._storm()
        self.calm = True
        keeper.faults.clear()
        keeper.add_prices([path[-1]] * QUIET_TICKS)
        self.live(QUIET_TICKS)
        published = keeper.house.directory.positions.get("p1")
        return None if published is None else published.position

    def _storm(self) -> None:
        """The prices come; now and then somebody closes a half, and asks for it again until he is answered."""
        asks_at = self.dice.choice((None, self.dice.randint(5, TICKS - 5)))
        reply = None
        for second in range(TICKS):
            self.live(1)
            if self.meddles and self.dice.random() < self.meddles:
                self._meddle()
            if asks_at is None or second < asks_at or (second - asks_at) % 4 or not self.keeper.alive:
                continue
            if reply is None or not reply.resolved or isinstance(reply.get(timeout=0), Refusal):
                reply = self.keeper.ask_close(fraction="0.5", request_id="half")

    def _meddle(self) -> None:
        """Somebody cancels an order at rest past the keeper, or moves its level."""
        if self.dice.random() < 0.5:
            self._amend()
            return
        limits = [order.client_order_id for order in self.keeper.venue().orders if order.kind is OrderKind.LIMIT]
        if limits:
            self.keeper.cancel_by_hand(self.dice.choice(limits), OrderKind.LIMIT)

    def _amend(self) -> None:
        """Somebody asks for other levels of the same targets; whether he is answered is not waited for."""
        body = plan_to_dict(self.plan)
        nudge = Decimal(self.dice.choice(("0.9", "1.1", "1.2")))
        for target in body["targets"]:
            if "percent" in target["at"]:
                target["at"]["percent"] = str(Decimal(target["at"]["percent"]) * nudge)
        if self.keeper.alive:
            self.amended += 1
            request = AmendRequest(position_id="p1", body=body, reply=self.keeper.simulator.reply(), act_now=True)
            tell(self.keeper.house.supervisor, request)

    # -- what must hold ------------------------------------------------------------------------------------------------

    def check_exchange(self) -> None:
        """After each of its turns: no leg closed more than planned, nothing closed twice, never more than was held."""
        keeper = self.keeper
        slot = keeper.venue()
        entry = keeper.order_id("entry")
        bought = sum((trade.quantity for trade in slot.trades if trade.client_order_id == entry), Decimal(0))
        sold = sum((trade.quantity for trade in slot.trades if trade.client_order_id != entry), Decimal(0))
        assert bought <= 1, f"entered {bought}"
        assert sold <= bought, f"closed {sold} of {bought}"
        by_hand = {keeper.order_id(f"manual-{number}", again) for number in range(1, 4) for again in range(4)}
        manual = sum((trade.quantity for trade in slot.trades if trade.client_order_id in by_hand), Decimal(0))
        assert manual <= bought / 2, f"closed {manual} of {bought} for one request of a half"
        for planned in self.plan.targets:
            ids = self.legs[planned.number]
            closed = sum((trade.quantity for trade in slot.trades if trade.client_order_id in ids), Decimal(0))
            assert closed <= planned.close * bought, f"target {planned.number} closed {closed} of {planned.close}"
            taken = [request.client_order_id for request in keeper.exchange.accepted if request.client_order_id in ids]
            assert len(set(taken)) == len(taken), f"target {planned.number} was executed twice"

    def check_store(self) -> None:
        """After each turn that may save: versions only grow, and the stop never loosens."""
        for name, raw in self.keeper.shard.positions.items():
            version = decode_snapshot(name, raw).version
            assert version >= self.versions.get(name, 0), f"version {version} after {self.versions[name]}"
            if version == self.versions.get(name):
                continue
            self.versions[name] = version
            stored = self.keeper.stored(name)
            if stored is None or stored.stop_price is None or not stored.entry_complete:
                continue
            if self.stop is not None:
                assert self.side.sign * (stored.stop_price - self.stop) >= 0, f"{self.stop} -> {stored.stop_price}"
            self.stop = stored.stop_price

    def check_end(self, position: Position | None) -> None:
        """In the calm: the books are the exchange's, nothing is on its way, and what is held is protected."""
        keeper = self.keeper
        slot = keeper.venue()
        held = self.side.sign * keeper.held()
        if position is None:
            assert held == 0
            assert not slot.trades
            assert not slot.orders
            return
        assert keeper.house.directory.reasons_not_ready() == ()
        assert keeper.stored() == position
        assert position.remaining == held
        booked = {fill.trade_id: (fill.client_order_id, fill.quantity, fill.price) for fill in position.fills}
        traded = {trade.trade_id: (trade.client_order_id, trade.quantity, trade.price) for trade in slot.trades}
        assert booked == traded
        assert [intent.leg for intent in position.intents if intent.live and intent.cancel_requested] == []
        if held:
            assert position.protected
            (stop,) = [order for order in slot.orders if order.kind is OrderKind.STOP_MARKET]
            assert stop.quantity == held
            assert stop.side is (OrderSide.SELL if self.side is Side.LONG else OrderSide.BUY)
            assert [intent.leg for intent in position.intents if in_flight(intent)] == []
            self._check_rests(position, slot)
        else:
            assert slot.orders == ()
            assert position.close_reason
            assert [intent.leg for intent in position.intents if intent.live] == []

    def _check_rests(self, position: Position, slot: AccountRead) -> None:
        """What rests for targets is what is missing of them, once each, and leaves the runner its share."""
        found = {order.client_order_id: order for order in slot.orders if order.kind is OrderKind.LIMIT}
        known = {
            intent.client_order_id: intent.leg for intent in position.intents if intent.live and intent.limit_price
        }
        assert sorted(found) == sorted(known)
        assert len(set(known.values())) == len(known)
        resting = sum((order.quantity - order.filled for order in found.values()), Decimal(0))
        assert not found or resting + runner_share(position) <= position.remaining
        wanted = shares(position)
        missing = [number for number, share in wanted.items() if share and f"target-{number}" not in known.values()]
        assert missing == []
