"""A long run of the whole house: 10,000 positions on 50 symbols under 1,000 ticks a second, and a judge at the end.

The market walks at random, violently enough that targets, trails and stops happen all the time; a position that closes
is replaced by a new one in its slot. Every five seconds memory, mailbox ages, saves and ticks are noted. At the end the
market pauses, everything comes to rest, and every book is compared with the exchange's ledger (scripts/bench_judge.py).
"""

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pykka

from actors.domain.model import IntentStatus, Side
from actors.domain.plans import RUNNER, parse_plan
from actors.messages import Opened, OpenRequest
from actors.runtime.base import Ping, Pong, Ref, tell
from scripts.bench_exchange import walk
from scripts.bench_judge import LISTED, judge
from scripts.bench_row import Bench, Result, Row, check, number, percentile, rss_bytes, wait_until
from scripts.bench_states import QUANTITY, Copies, Layout, open_position
from scripts.bench_world import World, world

SAMPLE_SECONDS = 5.0
PINGED = 200
HALF, TENTH = 0.5, 0.1
# What the first half does not show: by then nearly every position has moved its stop, or has been replaced.
FLAT = 1.02
AGE_BAR_MS = 100
QUIET_SECONDS = 3.0
RETRY_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """What to run. `volatility` is annual; 3 moves a price by about half a percent in a minute."""

    minutes: float = 30.0
    positions: int = 10_000
    symbols: int = 50
    ticks: int = 1_000
    shards: int = 10
    volatility: Decimal = Decimal(3)

    @property
    def layout(self) -> Layout:
        """Where the positions live."""
        accounts = -(-self.positions // self.symbols)
        return Layout(positions=self.positions, symbols=self.symbols, shards=min(self.shards, accounts))


class Ages:
    """Mailbox ages, kept by the tenth of a millisecond, so that half an hour of them takes no memory."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[int(seconds * 10_000)] += 1

    def percentile(self, percent: float) -> float:
        """In seconds."""
        wanted = self.counts.total() * percent / 100
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= wanted:
                return bucket / 10_000
        return 0.0

    def said(self) -> str:
        """The usual percentiles."""
        words = [f"p{percent:g} {self.percentile(percent) * 1000:,.1f}" for percent in (50, 99, 99.9, 100)]
        return " / ".join(words).replace("p100", "max") + " ms"


class Prober(pykka.ThreadingActor):
    """Hears the pongs of our own pings."""

    use_daemon_thread = True

    def __init__(self, ages: Ages) -> None:
        super().__init__()
        self._ages = ages

    def on_receive(self, message: object) -> None:
        """One mailbox answered."""
        if isinstance(message, Pong):
            self._ages.add(message.mailbox_age_seconds)


@dataclass(slots=True)
class _Asked:
    """A replacement that was asked for."""

    account: str
    symbol: str
    position_id: str
    reply: Any
    at: float


@dataclass(slots=True)
class Replacements:
    """Keeps the number of positions: whoever closes is followed by a new one in the same slot."""

    built: World
    slots: dict[str, tuple[str, str]]
    ids: list[tuple[str, str]]
    closed: deque[str] = field(default_factory=deque)
    pending: list[_Asked] = field(default_factory=list)
    again: deque[tuple[float, str, str]] = field(default_factory=deque)
    opened: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    happened: Counter[str] = field(default_factory=Counter)

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Of all that happens, count what matters and note who closed. Called on the actors' threads."""
        name = str(event["name"])
        if name == "position.closed":
            self.happened[f"closed by {event['fields'].get('reason')}"] += 1
            self.closed.append(str(event["position"]))
        elif name == "position.target_hit":
            self.happened["targets hit"] += 1

    def step(self) -> None:
        """Open what is missing, and hear what became of what was asked."""
        now = time.monotonic()
        while self.closed:
            account, symbol = self.slots.pop(self.closed.popleft())
            self.again.append((now, account, symbol))
        # A slot is free a moment after its position has closed.
        while self.again and now - self.again[0][0] >= RETRY_SECONDS / 2:
            _, account, symbol = self.again.popleft()
            self._ask(account, symbol, now)
        for asked in [each for each in self.pending if now - each.at >= RETRY_SECONDS]:
            self._hear(asked, now)

    def _ask(self, account: str, symbol: str, now: float) -> None:
        position_id = f"n{self.opened + sum(self.refused.values()) + len(self.pending):07}"
        reply = self.built.runtime.reply()
        request = OpenRequest(
            id=position_id,
            account=account,
            symbol=symbol,
            side=Side.LONG,
            quantity=QUANTITY,
            plan=parse_plan(RUNNER, name="runner"),
            digest=position_id,
            reply=reply,
        )
        # Before it is told: it may close before anybody looks.
        self.slots[position_id] = (account, symbol)
        tell(self.built.running.supervisor, request)
        self.pending.append(_Asked(account, symbol, position_id, reply, now))

    def _hear(self, asked: _Asked, now: float) -> None:
        try:
            answer = asked.reply.get(timeout=0.001)
        except pykka.Timeout:
            check(now - asked.at < 120, f"{asked.position_id} was never answered")
            return
        self.pending.remove(asked)
        if isinstance(answer, Opened):
            self.opened += 1
            self.ids.append((self.built.layout.shard_of(asked.account), asked.position_id))
            return
        self.refused[str(answer.code)] += 1
        self.slots.pop(asked.position_id, None)
        self.again.append((now, asked.account, asked.symbol))


@dataclass(slots=True)
class Samples:
    """What was noted every few seconds."""

    own: Ages = field(default_factory=Ages)
    health: Ages = field(default_factory=Ages)
    rss: list[tuple[float, int]] = field(default_factory=list)
    saves: list[float] = field(default_factory=list)
    ticks: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    health_at: int = 0
    unanswered: int = 0
    unsaid: list[str] = field(default_factory=list)


def run(bench: Bench) -> Result:
    """The soak as the document has it, or a tiny one."""
    tiny = Soak(minutes=0.1, positions=20, symbols=4, ticks=40, volatility=Decimal(30))
    return soak(bench, tiny if bench.quick else Soak())


def soak(bench: Bench, plan: Soak) -> Result:
    """Run, come to rest, judge."""
    layout = plan.layout
    interval = Decimal(plan.symbols) / Decimal(plan.ticks)
    market = {
        name: walk(volatility=plan.volatility, interval_seconds=interval, seed=name) for name in layout.symbol_names()
    }
    with world(bench.folder / "world", layout, copies=Copies(open_position()), market=market) as built:
        slots = {slot.position_id: (slot.account, slot.symbol) for slot in layout.slots()}
        ids = [(layout.shard_of(account), name) for name, (account, _) in slots.items()]
        replacements = Replacements(built, slots, ids)
        built.on_event = replacements.on_event
        booted = built.boot()
        bench.say(f"  booted {layout.said()} in {booted:.1f} s")
        samples = Samples()
        _watch(bench, plan, replacements, samples)
        _come_to_rest(built, replacements)
        verdict = judge(built, ids)
    for difference in verdict.differences[:LISTED]:
        bench.say(f"  DIFFERENCE {difference}")
    bench.say(f"  {verdict.positions:,} positions, {verdict.executions:,} executions compared")
    notes = (
        f"{plan.minutes:g} minutes, {layout.said()}, {plan.ticks:,} ticks/s asked for",
        "what happened: " + ", ".join(f"{count:,} {name}" for name, count in replacements.happened.most_common()),
        f"{replacements.opened:,} positions opened in place of those that closed"
        + (f"; asked again: {dict(replacements.refused)}" if replacements.refused else ""),
        f"executions booked and compared one by one: {verdict.executions:,}",
    )
    differences = tuple(verdict.differences[:LISTED])
    return Result(name="soak", rows=_rows(samples, verdict.positions, differences), notes=(*notes, *differences))


def _watch(bench: Bench, plan: Soak, replacements: Replacements, samples: Samples) -> None:
    """Let it run, and note what it does."""
    built = replacements.built
    prober = built.runtime.spawn(Prober, samples.own)
    began = last = time.monotonic()
    exchange, ticks, cpu = built.exchange, built.exchange.ticks, time.process_time()
    built.saves.clear()
    every = min(SAMPLE_SECONDS, plan.minutes * 60 / 4)
    while time.monotonic() - began < plan.minutes * 60:
        time.sleep(0.25)
        replacements.step()
        now = time.monotonic()
        if now - last < every:
            continue
        saved, batches = sum(count for count, _ in built.saves), len(built.saves)
        built.saves.clear()
        samples.saves.append(saved / (now - last))
        samples.ticks.append((exchange.ticks - ticks) / (now - last))
        samples.cpu.append((time.process_time() - cpu) / (now - last))
        ticks, cpu = exchange.ticks, time.process_time()
        samples.rss.append((now - began, rss_bytes()))
        last = now
        _ping(built, prober)
        _read_health(built, samples)
        bench.say(
            f"  {now - began:6.0f} s: {samples.rss[-1][1] / 1024 / 1024:.0f} MiB, {samples.ticks[-1]:.0f} ticks/s, "
            f"{samples.saves[-1]:.0f} saves/s in {batches}, {samples.cpu[-1]:.2f} cores, own pings {samples.own.said()}"
        )
    built.runtime.stop(prober, 5.0)


def _ping(built: World, prober: Ref) -> None:
    """Through the mailboxes of a sample of actors, the core ones among them."""
    runtime: Any = built.runtime
    alive = runtime.alive()
    house = built.running
    for ref in [house.persistence, house.supervisor, house.health, *random.sample(alive, min(PINGED, len(alive)))]:
        tell(ref, Ping(sent_at=built.runtime.clock.monotonic(), reply_to=prober))


def _read_health(built: World, samples: Samples) -> None:
    """What the health actor has published since the last look."""
    directory = built.running.directory
    if directory.health_at == samples.health_at:
        return
    samples.health_at = directory.health_at
    for record in directory.health:
        samples.health.add(record.mailbox_age_seconds)
        samples.unanswered += not record.answered


def _come_to_rest(built: World, replacements: Replacements) -> None:
    """No more prices, no more openings, and nothing under way."""
    built.exchange.paused = True
    deadline = time.monotonic() + 300
    while replacements.pending or replacements.again:
        check(time.monotonic() < deadline, "an opening is still under way")
        replacements.again.clear()
        replacements.step()
        replacements.closed.clear()
        time.sleep(0.1)
    before: dict[str, int] = {}
    quiet_since = threading.Event()

    def quiet() -> bool:
        nonlocal before
        published = list(built.running.directory.positions.values())
        now = {each.position_id: each.version for each in published}
        if now != before or any(built.running.directory.lags.values()):
            before = now
            time.sleep(QUIET_SECONDS)
            return False
        quiet_since.set()
        return True

    wait_until(quiet, "no state to change any more", patience_seconds=300)
    loose = [
        f"{name}: {intent.leg} {intent.status.value}"
        for name, position in built.positions().items()
        for intent in position.intents
        if not intent.status.terminal and intent.status not in (IntentStatus.RESTING, IntentStatus.PLANNED)
    ]
    check(not loose, f"still under way: {loose[:LISTED]}")


def _mean(rss: list[tuple[float, int]], begin: float, end: float) -> float:
    """Of a stretch of the run, in bytes."""
    last = rss[-1][0]
    sizes = [size for at, size in rss if begin * last <= at <= end * last] or [rss[-1][1]]
    return sum(sizes) / len(sizes)


def _age_row(what: str, ages: Ages, against: str) -> Row:
    return Row(
        what=what,
        measured=ages.said(),
        against=against,
        bar=f"p99.9 < {AGE_BAR_MS} ms",
        held=ages.percentile(99.9) * 1000 < AGE_BAR_MS,
    )


def _rows(samples: Samples, positions: int, differences: tuple[str, ...]) -> tuple[Row, ...]:
    halfway, end = _mean(samples.rss, HALF, HALF + TENTH), _mean(samples.rss, 1 - TENTH, 1)
    mebibyte = 1024 * 1024
    growth = end / halfway
    return (
        Row(
            what="books against the exchange",
            measured="no difference" if not differences else f"{len(differences)} or more differences",
            against=f"{positions:,} positions, closed ones included",
            bar="no difference",
            held=not differences,
        ),
        Row(
            what="memory",
            measured=f"{end / mebibyte:,.0f} MiB in the last tenth",
            against=f"{halfway / mebibyte:,.0f} MiB halfway, {samples.rss[0][1] / mebibyte:,.0f} after the boot",
            ratio=f"{growth:.3f}×",
            bar=f"flat: ≤ {FLAT}× of halfway",
            held=growth <= FLAT,
        ),
        _age_row("mailbox age, own pings", samples.own, f"{samples.own.counts.total():,} pings"),
        _age_row(
            "mailbox age, health records",
            samples.health,
            f"{samples.health.counts.total():,} records, {samples.unanswered:,} unanswered",
        ),
        Row(
            what="ticks a second",
            measured=number(sum(samples.ticks) / len(samples.ticks)),
            against=f"slowest five seconds {number(min(samples.ticks))}",
        ),
        Row(
            what="saves a second",
            measured=number(sum(samples.saves) / len(samples.saves)),
            against=f"busiest five seconds {number(max(samples.saves))}",
        ),
        Row(
            what="cores of the keeper",
            measured=f"{sum(samples.cpu) / len(samples.cpu):.2f}",
            against=f"p99 of the samples {percentile(samples.cpu, 99):.2f}",
        ),
    )


def hot(bench: Bench) -> None:
    """For the profiler: a short one."""
    soak(
        bench, Soak(minutes=0.1, positions=20, symbols=4, ticks=40) if bench.quick else Soak(minutes=1, positions=1000)
    )
