"""Arbitrary bytes in every stored key, and a boot upon them: one position stands still, and everything else goes on.

A whole keeper on the simulator holds two positions and is killed; then one key is damaged. What cannot be read is
quarantined with its stop left in place, is named by `exitkeeper snapshots verify`, and is never written over: it is
the evidence. What can still be read and makes no sense may cost its own position, and no other.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from persistence.codec import decode_snapshot, encode_line
from persistence.memory_store import ShardData
from persistence.store import Line, SnapshotCorrupt
from service.cli_snapshots import check_shard
from tests.input.damage import damaged_bytes
from tests.input.effort import effort
from tests.simulation.house import OTHER, SYMBOL, Keeper


@contextmanager
def dead_keeper() -> Iterator[Keeper]:
    """A keeper that was killed while it held p1, its first target filled, and p2."""
    with TemporaryDirectory() as folder:
        keeper = Keeper(Path(folder), [60000], others=[3000])
        keeper.start()
        keeper.opened()
        keeper.opened(id="p2", symbol=OTHER)
        keeper.moves(60600)
        assert keeper.position().remaining == Decimal("0.4")
        keeper.moves(60500, 60550, seconds=20)
        keeper.crash()
        yield keeper


def boot_again(keeper: Keeper) -> None:
    """Boot, and go on for a while; whatever fails is the first position's actor."""
    keeper.boot()
    keeper.simulator.run(for_seconds=60)
    assert keeper.alive
    failed = [failure for failure in keeper.simulator.failures if "PositionActor" not in repr(failure)]
    assert not failed, failed


def second_goes_on(keeper: Keeper) -> None:
    """The other position takes its profit as if nothing had happened."""
    keeper.add_prices([3030], symbol=OTHER)
    keeper.simulator.run(for_seconds=10)
    second = keeper.position("p2")
    assert (second.targets[0].hit, second.remaining) == (True, Decimal("0.4"))
    assert second.protected


def faults(keeper: Keeper) -> list[str]:
    """What `exitkeeper snapshots verify` says."""
    store = keeper.open_store()
    return check_shard("paper", store.load("paper"), store.fence("paper"))


@effort(40)
@given(data=st.data())
def test_a_damaged_position_costs_no_other(data: st.DataObject) -> None:
    """Unreadable: quarantined, its stop at rest, its bytes as they were, and named. Nonsense: itself at most."""
    with dead_keeper() as keeper:
        raw = data.draw(damaged_bytes(keeper.shard.positions["p1"]))
        keeper.shard.positions["p1"] = raw
        try:
            decode_snapshot("p1", raw, 2)
            readable = True
        except SnapshotCorrupt:
            readable = False
        stops = keeper.resting()
        sent = len(keeper.exchange.accepted)
        boot_again(keeper)
        second_goes_on(keeper)
        if not readable:
            assert keeper.published("p1").quarantined
            assert keeper.shard.positions["p1"] == raw, "the evidence was overwritten"
            assert keeper.resting() == stops, "its stop is gone"
            ours = [order for order in keeper.exchange.accepted[sent:] if order.symbol == SYMBOL]
            assert not ours, "orders were sent for what cannot be read"
            assert any("p1" in fault for fault in faults(keeper))
        assert keeper.held() >= 0


@effort(25)
@given(data=st.data())
def test_a_damaged_fence_stops_its_shard_and_overwrites_nothing(data: st.DataObject) -> None:
    """Who owns the shard cannot be told: nobody acts, the stops rest, and the service lives and says why."""
    with dead_keeper() as keeper:
        assert keeper.shard.fence is not None
        keeper.shard.fence = data.draw(damaged_bytes(keeper.shard.fence))
        fence, positions, stops = keeper.shard.fence, dict(keeper.shard.positions), keeper.resting()
        try:
            keeper.open_store().fence("paper")
            readable = True
        except SnapshotCorrupt:
            readable = False
        boot_again(keeper)
        if not readable:
            assert keeper.house.directory.reasons_not_ready()
            assert keeper.shard.fence == fence
            assert keeper.shard.positions == positions
            assert keeper.resting() == stops


@effort(40)
@given(data=st.data())
def test_other_damaged_keys_cost_no_position(data: st.DataObject) -> None:
    """Tapes, the audit trail, final snapshots, the line of owners, names that were never a position's."""
    with dead_keeper() as keeper:
        shard = keeper.shard
        what = data.draw(st.sampled_from([tape, trail, closed, line, names]))
        what(data, shard)
        boot_again(keeper)
        second_goes_on(keeper)
        assert keeper.position("p1").remaining == Decimal("0.4")
        assert keeper.position("p1").stop_price == 60000


def test_a_snapshot_under_another_name_is_nobody() -> None:
    """A copy of a position's snapshot was a second actor of the same position, and the first stood still."""
    with dead_keeper() as keeper:
        keeper.shard.open.add("p3")
        copied = keeper.shard.positions["p3"] = keeper.shard.positions["p2"]
        boot_again(keeper)
        second_goes_on(keeper)
        assert "holds the position p2" in keeper.published("p3").quarantined
        assert keeper.shard.positions["p3"] == copied


def tape(data: st.DataObject, shard: ShardData) -> None:
    """The record of a symbol's extremes."""
    name = data.draw(st.sampled_from([SYMBOL, OTHER, "", "x"]))
    shard.tapes[name] = data.draw(damaged_bytes(shard.tapes.get(name, b"")))


def trail(data: st.DataObject, shard: ShardData) -> None:
    """The lines of the audit trail."""
    shard.events = [(name, data.draw(damaged_bytes(raw))) for name, raw in shard.events[:3]]


def closed(data: st.DataObject, shard: ShardData) -> None:
    """Final snapshots."""
    name = data.draw(st.sampled_from(["p0", "p1", "", "x y"]))
    shard.closed.append((name, data.draw(damaged_bytes(shard.positions["p2"]))))


def line(data: st.DataObject, shard: ShardData) -> None:
    """Since when each owner was the only one."""
    shard.line = data.draw(damaged_bytes(encode_line(Line(since=1, until=1))))


def names(data: st.DataObject, shard: ShardData) -> None:
    """Members of the set of open positions that have no snapshot, or somebody else's."""
    name = data.draw(st.sampled_from(["p3", "", "a/b", "p1 ", "\udcff", "ü" * 100]))
    shard.open.add(name)
    if data.draw(st.booleans()):
        shard.positions[name] = shard.positions["p2"]
