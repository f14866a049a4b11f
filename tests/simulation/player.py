"""Plays one story on a world: people who open, close and amend, prices, and at last the calm."""

from typing import Any

from actors.domain.model import OrderKind, OrderSide, Phase, Side
from actors.domain.plans import plan_to_dict
from actors.messages import AmendRequest, Opened, Refusal
from actors.runtime.base import tell
from tests.simulation.house import SYMBOL
from tests.simulation.promises import RESOLVED_SECONDS, Promises
from tests.simulation.stories import Story
from tests.simulation.troubles import Trouble
from tests.simulation.world import World

LONGEST_CALM_SECONDS = 75
# What no report tells is seen when a keeper looks around, every thirty seconds, and believed on its second read.
SEEN_SECONDS = 5.0
OPENING_TRIES = 40


class Player:
    """Plays one story: the opening, its prices with all that comes with them, and then the calm."""

    def __init__(self, world: World, promises: Promises, story: Story, troubles: list[Trouble]) -> None:
        self.world = world
        self.promises = promises
        self.story = story
        self.hands = sorted((trouble for trouble in troubles if trouble.kind == "hand"), key=lambda trouble: trouble.at)
        self.points = 0
        self._half: Any = None
        for rule in story.faults:
            world.faults.next(**rule)

    def play(self) -> None:
        """All of it. Raises Broken."""
        world = self.world
        world.start_on("a")
        self._open()
        if world.waits:
            self._to_the_end()
        else:
            self._storm()
            self._calm()
        self.points = self.points or world.points
        self.promises.book_equals_exchange()

    def _open(self) -> None:
        """Ask for the position until it is there; the same request may be repeated, which opens once."""
        world, story = self.world, self.story
        for _ in range(OPENING_TRIES):
            world.pass_time(1.0)
            life = world.awake
            if life is None or not life.ready:
                continue
            world.house = life.house or world.house
            reply = world.ask_open(side=story.side, plan=story.plan, quantity=str(story.quantity))
            world.pass_time(0.5)
            if reply.resolved and isinstance(reply.get(timeout=0), Opened):
                break
        world.pass_time(1.0)
        if story.crowd and world.ledger.quote(SYMBOL) is not None:
            # Where no keeper ever came so far, the market has not begun, and nobody can trade.
            world.by_hand(story.entry_side, str(story.crowd))
            world.pass_time(0.5)
            for _ in range(0 if world.waits else 60):
                # Until the keeper has looked around: of what it has not seen it can know nothing.
                if self.promises.last is None or self.promises.last.excess:
                    break
                world.pass_time(1.0)

    def _to_the_end(self) -> None:
        """The market waits for the keeper: until the position has ended."""
        world = self.world
        world.add_prices(self.story.prices)
        for second in range(60):
            world.pass_time(1.0)
            self._hands(second)
            last = self.promises.last
            ended = last is not None and last.phase is Phase.CLOSED and self.hands_are_done(second)
            if ended and not world.boots_due and world.awake is not None and world.awake.ready:
                break
        self.points = world.points
        world.pass_time(1.0)
        for _ in range(30):
            if world.awake is not None and world.awake.ready:
                break
            world.pass_time(1.0)

    def hands_are_done(self, second: int) -> bool:
        """Whether nobody will interfere any more."""
        return all(hand.at < second for hand in self.hands)

    def _storm(self) -> None:
        world = self.world
        world.add_prices(self.story.prices)
        for second in range(len(self.story.prices)):
            world.pass_time(1.0)
            self._hands(second)
        self.points = world.points

    def _calm(self) -> None:
        """No trouble any more, and a market that stands still: what must be settled by when."""
        world = self.world
        world.calm = True
        world.faults.clear()
        last = self.story.prices[-1] if self.story.prices else 60000
        world.add_prices([last] * LONGEST_CALM_SECONDS)
        world.pass_time(RESOLVED_SECONDS)
        self.promises.unknown_is_resolved()
        if any(hand.at >= len(self.story.prices) - SEEN_SECONDS for hand in self.hands):
            world.pass_time(SEEN_SECONDS)

    # -- hands ---------------------------------------------------------------------------------------------------------

    def _hands(self, second: int) -> None:
        for hand in self.hands:
            if hand.at == second and hand.subject != "half":
                self.world.say(f"by hand: {hand.subject}")
                getattr(self, f"_{hand.subject}")()
            elif hand.subject == "half" and second >= hand.at and (second - hand.at) % 4 == 0:
                self._ask_half()

    def _ask_half(self) -> None:
        """Somebody closes a half, and asks for it again until he is answered."""
        life = self.world.awake
        reply = self._half
        answered = reply is not None and reply.resolved and not isinstance(reply.get(timeout=0), Refusal)
        if life is not None and life.house is not None and not answered and self.promises.last is not None:
            self.world.house = life.house
            self._half = self.world.ask_close(fraction="0.5", request_id="half")

    def _close(self) -> None:
        life = self.world.awake
        if life is not None and life.house is not None:
            self.world.house = life.house
            self.world.ask_close(request_id="all")

    def _amend(self) -> None:
        """Somebody asks for other levels of the same targets; whether he is answered is not waited for."""
        body = plan_to_dict(self.story.plan)
        for target in body["targets"]:
            if "percent" in target["at"]:
                target["at"]["percent"] = str(float(target["at"]["percent"]) * 1.25)
        life = self.world.awake
        if life is not None and life.house is not None:
            reply = self.world.simulator.reply()
            tell(life.house.supervisor, AmendRequest(position_id="p1", body=body, reply=reply, act_now=True))

    def _sleep(self) -> None:
        """Whoever runs the keeper lets it be down for two minutes, now that its stop rests."""
        world = self.world
        ledger, last = self.promises.ledger, self.promises.last
        if world.waits or ledger is None or not ledger.stops or last is None or not last.protected:
            return
        alive = [life for life in world.lives if not life.dead]
        if not alive:
            # It is down at this moment, and about to be started: without that start nobody would ever run again.
            return
        world.boots_due.clear()
        for life in alive:
            world.kill(life, "it is stopped for two minutes", down=125.0, machine=life.machine)

    def _cancel(self) -> None:
        """Somebody cancels what rests for a target."""
        limits = [order for order in self.world.venue().orders if order.kind is OrderKind.LIMIT]
        for order in limits[:1]:
            self.world.ledger.changed = True
            self.world.cancel_by_hand(order.client_order_id, OrderKind.LIMIT)

    def _reduce(self) -> None:
        """Somebody sells a part past the keeper."""
        if abs(self.world.held()) - self.story.crowd > 0.2:
            self.world.by_hand(self._exit_side, "0.1")

    def _liquidate(self) -> None:
        """The exchange takes all that is held."""
        held = abs(self.world.held())
        if held:
            self.world.by_hand(self._exit_side, str(held), cause="liquidated")

    @property
    def _exit_side(self) -> OrderSide:
        return OrderSide.SELL if self.story.side is Side.LONG else OrderSide.BUY
