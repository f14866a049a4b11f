"""The trigger book equals "every price to every position", tick for tick and position for position.

Each position is there twice: one is told every tick, the other only those that its watch names, some of them late, and
takes everything else from the tape. Whatever the plans, the prices and the venue do, both are the same at every tick,
and have asked for the same in the same order.
"""

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from actors.domain import schema
from actors.domain.errors import DomainError, PlanRefused
from actors.domain.events import PriceMoved
from actors.domain.model import Micros, OrderKind, Position, Quote, Terms
from actors.domain.price_book import PriceBook, Wake
from actors.domain.tape import StoredTape
from actors.domain.watch import catch_up, stop_source_of, watch_of
from tests.unit.driver import SECOND, START, D, Desk, opened, quote
from tests.unit.test_rules_properties import disturb_order, pending, restart

ENTRY = 1000
SOURCES = ("mark", "last", "bid_ask")


# -- what may be asked for, and what may happen ------------------------------------------------------------------------


def tenths(low: int, high: int) -> st.SearchStrategy[str]:
    """A decimal with one digit, as text."""
    return st.integers(low, high).map(lambda value: str(D(value) / 10))


@st.composite
def distances(draw: st.DrawFn) -> dict[str, str]:
    """A trailing distance of any kind, with or without clamps."""
    kinds = [("percent", tenths(1, 40)), ("price", tenths(5, 400)), ("atr", tenths(1, 40))]
    name, values = draw(st.sampled_from(kinds))
    found = {name: draw(values)}
    low, high = sorted([draw(st.integers(0, 40)), draw(st.integers(0, 40))])
    if draw(st.booleans()):
        found["min_percent"] = str(D(low) / 10)
    if draw(st.booleans()):
        found["max_percent"] = str(D(high) / 10)
    return found


@st.composite
def levels(draw: st.DrawFn, percent: int) -> dict[str, str]:
    """A level that many tenths of a percent away, said in one way or another (an ATR is 10)."""
    name, unit = draw(st.sampled_from([("percent", D(10)), ("atr", D(10)), ("price", None)]))
    if unit is None:
        return {"percent": str(D(percent) / 10)}
    return {name: str(D(percent) / unit)}


@st.composite
def plans(draw: st.DrawFn) -> dict[str, Any]:
    """Any plan around an entry at 1000."""
    plan: dict[str, Any] = {"stop": draw(levels(draw(st.integers(1, 50)))), "atr": "10"}
    if draw(st.booleans()):
        plan["trail"] = draw(distances())
    budget, targets = 10, []
    for level in sorted(draw(st.sets(st.integers(1, 40), max_size=3))):
        share = draw(st.integers(0, budget))
        budget -= share
        then: dict[str, Any] = {}
        if draw(st.booleans()):
            lock = st.integers(-20, 30).map(lambda value: {"percent": str(D(value) / 10)})
            then["stop"] = draw(st.one_of(st.sampled_from([{"breakeven": "price"}, {"breakeven": "fees"}]), lock))
        if draw(st.booleans()):
            then["trail"] = draw(distances())
        at: Any = draw(levels(level))
        if draw(st.integers(0, 3)) == 0:
            moments = sorted(draw(st.sets(tenths(1, 200), min_size=1, max_size=2)), key=D)
            nearer = [{"percent": str(D(level) * (8 - 3 * index) / 100)} for index in range(len(moments))]
            at = [at, *({**near, "after_seconds": moment} for near, moment in zip(nearer, moments, strict=True))]
        target: dict[str, Any] = {"at": at, "close": str(D(share) / 10), "then": then}
        if share and draw(st.integers(0, 2)) == 0:
            target |= {"order": "limit", "actions_on": draw(st.sampled_from(["fill", "touch"]))}
        targets.append(target)
    plan["targets"] = targets
    if draw(st.integers(0, 3)) == 0:
        plan["time_limit_seconds"] = draw(tenths(1, 300))
    plan["max_slippage_percent"] = draw(st.sampled_from(["0", "0.2", "100"]))
    plan["trigger_by"] = {"stop": draw(st.sampled_from(SOURCES)), "targets": draw(st.sampled_from(SOURCES))}
    return plan


@st.composite
def openings(draw: st.DrawFn) -> dict[str, Any]:
    """One position: plan, side, and how obedient the venue is."""
    return {
        "plan": draw(plans()),
        "side": draw(st.sampled_from(["long", "short"])),
        "held": ("observe", *draw(st.sets(st.sampled_from(["target-", "stop", "resident-", "manual-", "entry"])))),
        "fee_percent": draw(st.sampled_from(["0", "0.05"])),
        "terms": Terms(
            resident_interval_seconds=D(draw(st.sampled_from(["0", "1", "5"]))),
            resident_step_percent=D(draw(st.sampled_from(["0", "0.1", "1"]))),
        ),
    }


moves = st.one_of(st.integers(-3, 3), st.integers(-3, 3), st.integers(-40, 40))
ticks = st.tuples(
    st.just("tick"),
    moves,
    st.tuples(*[st.one_of(st.none(), st.integers(-2, 2), st.integers(-2, 2), st.integers(-2, 2)) for _ in range(4)]),
    st.sampled_from([0, 0, 100_000, SECOND, SECOND, 7 * SECOND]),
)
others = st.one_of(
    st.tuples(st.just("fold")),
    st.tuples(st.just("crash")),
    st.tuples(st.just("compact")),
    st.tuples(st.just("wait"), st.integers(0, 9)),
    st.tuples(st.just("fill"), st.sampled_from(["part", "whole", "end", "lose", "refuse", "absent", "read"])),
    st.tuples(st.just("close"), st.sampled_from(["0.25", "0.5", "1"])),
    st.tuples(st.just("amend"), plans(), st.booleans(), st.booleans()),
    st.tuples(st.just("restart")),
    st.tuples(st.just("resident"), st.sampled_from(["rest", "refuse", "part", "whole", "end"])),
)
steps = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.one_of(ticks, ticks, ticks, ticks, others)), max_size=40
)


# -- two of each position ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Pair:
    """One position twice, and how its registration stands: `since` is set while it is under way, for `delay` ticks.

    `applied` is the time of the last event that the booked one has applied: a refused command is none.
    """

    key: str
    naive: Desk
    booked: Desk
    since: int | None = None
    delay: int = 0
    saved: tuple[Position, int] | None = None
    applied: Micros = START
    events: int = 0

    @property
    def desks(self) -> tuple[Desk, Desk]:
        """Both."""
        return self.naive, self.booked


class World:
    """One symbol's book, and positions that stand by it."""

    def __init__(self, openings_: list[dict[str, Any]], ring: int = 4096) -> None:
        self.lineages = 1
        self.ring = ring
        self.book = PriceBook(ring=ring, lineage="1")
        self.price, self.at = D(ENTRY), START
        self.quotes: list[Quote] = []
        self.merged: Quote = quote(ENTRY)
        self.pairs = []
        for number, opening in enumerate(openings_):
            desks = [opened(**opening, entry=ENTRY, id=f"p{number}") for _ in range(2)]
            self.pairs.append(Pair(f"p{number}", desks[0], desks[1]))
        for pair in self.pairs:
            self.register(pair, None)

    # -- ticks ------------------------------------------------------------------------------------------------------

    def tick(self, move: int, spread: tuple[int | None, ...], wait: int, delay: int) -> None:
        """A new price: every naive twin hears it, of the others those whom the book wakes."""
        self.price = max(D(1), self.price + D(move) / 2)
        self.at += wait
        sources = [None if away is None else self.price + D(away) / 10 for away in spread]
        now = Quote(at=self.at, mark=sources[0], last=sources[1], bid=sources[2], ask=sources[3])
        for pair in self.pairs:
            self.fill_limits(pair, now)
        self.quotes.append(now)
        self.book.play(now)
        for pair in self.pairs:
            pair.naive.at, pair.naive.quote = self.at, self.known()
            pair.naive.tell(PriceMoved(quote=now))
        woken, self.book.woken = self.book.woken, []
        for wake in woken:
            pair = next(pair for pair in self.pairs if pair.key == wake.key)
            assert pair.since is None, "woken though it was not armed"
            self.wake(pair, wake, delay)
        for pair in self.pairs:
            if pair.since is not None:
                pair.delay -= 1
                if pair.delay < 0:
                    self.settle(pair)
        self.compare()

    def known(self) -> Quote:
        """Every source's latest price; desks fill at it."""
        new = self.quotes[-1] if self.quotes else self.merged
        self.merged = replace(
            new,
            mark=self.merged.mark if new.mark is None else new.mark,
            last=self.merged.last if new.last is None else new.last,
            bid=self.merged.bid if new.bid is None else new.bid,
            ask=self.merged.ask if new.ask is None else new.ask,
        )
        return self.merged

    def wake(self, pair: Pair, wake: Wake, delay: int) -> None:
        """The booked twin hears of a tick that it waits for."""
        desk = pair.booked
        desk.position = catch_up(desk.position, wake.missed)
        assert wake.missed.latest is not None
        before = self.seen_before(wake.tick)
        desk.at, desk.quote = wake.quote.at, before
        desk.tell(PriceMoved(quote=wake.quote))
        pair.since, pair.delay = wake.tick, delay

    def seen_before(self, tick: int) -> Quote:
        """Every source's latest price at a tick of the present book."""
        found: dict[str, Any] = {}
        end = len(self.quotes) - (self.book.sequence - tick)
        for name in ("mark", "last", "bid", "ask"):
            prices = [getattr(one, name) for one in self.quotes[:end]]
            found[name] = next((price for price in reversed(prices) if price is not None), D(ENTRY))
        return Quote(at=self.quotes[end - 1].at, **found)

    def settle(self, pair: Pair) -> None:
        """Its registration arrives, and with it whatever it has missed, until it is armed."""
        while pair.since is not None:
            since, pair.since = pair.since, None
            self.register(pair, since)

    def register(self, pair: Pair, since: int | None) -> None:
        """Say what the booked twin waits for; it may have come already."""
        position, happened = pair.booked.position, len(pair.booked.events)
        if happened != pair.events:
            pair.events, pair.applied = happened, pair.booked.at
        serial, wake = self.book.register(pair.key, watch_of(position, pair.applied), since)
        if wake is not None:
            assert wake.serial == serial
            self.wake(pair, wake, 0)
            return
        pair.saved = position, self.book.point(pair.key)

    # -- all else ---------------------------------------------------------------------------------------------------

    def before(self, pair: Pair) -> None:
        """Whatever happens to a position, it first takes in the prices that it was not told."""
        self.settle(pair)
        missed = self.book.fold(pair.key)
        assert missed is not None
        pair.booked.position = catch_up(pair.booked.position, missed)
        for desk in pair.desks:
            desk.at, desk.quote = self.at, self.known()

    def after(self, pair: Pair) -> None:
        """And then says what it waits for now."""
        self.register(pair, None)

    def fill_limits(self, pair: Pair, now: Quote) -> None:
        """An exchange executes what rests before anybody hears of the price."""
        self.at = now.at
        for order in list(pair.naive.orders.values()):
            submit = order.submit
            touch = now.bid if submit.side == "sell" else now.ask
            held = any(submit.leg.startswith(leg) for leg in pair.naive.held)
            if submit.kind is not OrderKind.LIMIT or order.state != "open" or held or touch is None:
                continue
            assert submit.limit_price is not None
            if touch >= submit.limit_price if submit.side == "sell" else touch <= submit.limit_price:
                self.before(pair)
                for desk in pair.desks:
                    desk.fill(submit.leg, price=submit.limit_price)
                self.after(pair)

    def happen(self, which: int, what: tuple[Any, ...], delay: int) -> None:
        """One step of a story."""
        name, arguments = what[0], what[1:]
        if name == "tick":
            move, spread, wait = arguments
            self.tick(move, spread, wait, delay)
            return
        if name == "crash":
            self.crash()
            return
        if name == "compact":
            if all(pair.since is None for pair in self.pairs):
                self.book.compact(pair.saved[1] for pair in self.pairs if pair.saved)
            return
        pair = self.pairs[which % len(self.pairs)]
        if name == "wait":
            self.at += arguments[0] * SECOND
        self.before(pair)
        if name == "fold":
            assert pair.naive.phase() == "closed" or pair.booked.position.latest == pair.naive.position.latest
            return
        for desk in pair.desks:
            self.do(desk, name, arguments)
        self.after(pair)
        self.compare()

    def do(self, desk: Desk, name: str, arguments: tuple[Any, ...]) -> None:
        """Something other than a price happens to one position."""
        if name == "wait":
            desk.wait(0)
        elif name == "restart":
            latest = desk.position.latest
            restart(desk)
            desk.position = replace(desk.position, latest=latest or desk.position.latest)
        elif name == "fill" and (leg := pending(desk)) is not None:
            disturb_order(desk, arguments[0], 5, leg)
        elif name == "resident":
            self.resident(desk, arguments[0])
        elif name in ("close", "amend"):
            happened = len(desk.events)
            try:
                if name == "close":
                    desk.close(arguments[0], f"request-{len(self.quotes)}")
                else:
                    desk.amend(arguments[0], allow_looser_stop=arguments[1], act_now=arguments[2])
            except DomainError:
                del desk.events[happened:]

    def resident(self, desk: Desk, what: str) -> None:
        """The venue does something with the newest stop at rest."""
        open_ones = desk.resting()
        if not open_ones:
            return
        order = open_ones[-1]
        leg = order.submit.leg
        if what == "rest":
            desk.report(leg)
        elif what == "refuse" and not order.trades and desk.intent(leg).status == "sent":
            desk.refuse(leg)
        elif what == "part" and not order.trades:
            desk.fill(leg, order.submit.quantity / 2)
        elif what == "whole":
            desk.fill(leg)
        elif what == "end":
            desk.cancelled(leg)

    def crash(self) -> None:
        """All is lost but each position as it was last saved, and the tape."""
        for pair in self.pairs:
            self.settle(pair)
        stored = StoredTape(self.book.dump(min(pair.saved[1] for pair in self.pairs if pair.saved)))
        lineage = self.book.lineage
        self.lineages += 1
        self.book = PriceBook(ring=self.ring, lineage=str(self.lineages))
        for pair in self.pairs:
            assert pair.saved is not None
            saved, seen = pair.saved
            loaded = schema.load(schema.dump(saved), schema.SCHEMA)
            missed = stored.missed(lineage, seen, stop_source_of(saved.plan.stop_source, saved.side))
            # The present prices are not saved: a comeback reads them.
            position = catch_up(loaded, replace(missed, latest=pair.naive.position.latest))
            pair.booked.position = replace(position, reconciling=saved.reconciling)
            pair.booked.at = pair.naive.at
            assert pair.booked.position == pair.naive.position
            self.register(pair, None)

    def compare(self) -> None:
        """Both twins are the same, and have asked for the same."""
        stored = StoredTape(self.book.dump())
        for pair in self.pairs:
            if pair.since is not None:
                continue
            position = pair.booked.position
            source = stop_source_of(position.plan.stop_source, position.side)
            missed = stored.missed(self.book.lineage, self.book.point(pair.key), source)
            assert catch_up(position, missed) == pair.naive.position
            assert pair.booked.effects == pair.naive.effects

    def end(self) -> None:
        """Every registration has arrived, and everybody has taken in everything."""
        for pair in self.pairs:
            self.before(pair)
            assert pair.booked.position == pair.naive.position
            assert pair.booked.effects == pair.naive.effects


def play(openings_: list[dict[str, Any]], story: list[tuple[int, int, tuple[Any, ...]]], ring: int) -> None:
    """Tell a story."""
    try:
        world = World(openings_, ring)
    except PlanRefused:
        assume(False)
    for which, delay, what in story:
        world.happen(which, what, delay)
    world.end()


SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


@settings(max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=SLOW)
@given(chosen=st.lists(openings(), min_size=1, max_size=3), story=steps)
def test_the_book_equals_every_price_to_every_position(
    chosen: list[dict[str, Any]], story: list[tuple[int, int, tuple[Any, ...]]]
) -> None:
    """Identical effects in order, identical positions at every tick, whatever happens between the ticks."""
    play(chosen, story, 4096)
