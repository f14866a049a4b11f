"""What happens to actors that fail: restarts with back-off, and quarantine.

Part of the supervisor, used on its thread alone.
"""

from collections.abc import Callable
from dataclasses import replace

from actors.domain.model import Position
from actors.managed import Managed
from actors.roster import BACKOFF_SECONDS, RESTART_WINDOW_SECONDS, Roster
from actors.runtime.base import tell
from actors.traffic import ActorFailed, BeginRecovery, EnsureStop, Respawn, Restarted, SlotFreed, Unregister
from persistence.messages import ReadSnapshot, SnapshotRead

RESTART_LIMIT = 5


class Casualties:
    """Restarts what failed from its snapshot, and quarantines what fails too often."""

    def __init__(
        self,
        roster: Roster,
        *,
        recover: Callable[[str, BeginRecovery, set[str]], None],
        gone: Callable[[Managed, str], None],
        begin_anew: Callable[[str, str], None],
    ) -> None:
        """`recover` spawns a position from a snapshot, `gone` is told of one that will not come back now."""
        self._roster = roster
        self._recover = recover
        self._gone = gone
        self._begin_anew = begin_anew

    def on_failed(self, message: ActorFailed) -> None:
        """Restart it after a while; more than RESTART_LIMIT times in the window, quarantine it."""
        self._roster.log.error("actor.failed", actor=message.name, kind=message.kind, error=message.error)
        if message.kind in ("GatewayActor", "MarketActor"):
            self._begin_anew(message.name, message.error)
            return
        managed = self._roster.managed.get(message.name)
        if managed is None or managed.quarantined:
            return
        account = self._roster.accounts[managed.account]
        self._roster.stop(managed.ref, message.name)
        managed.ref = None
        if not account.started:
            return
        if managed.opening:
            # Whether it was saved is open: ask the store, like for any other.
            managed.opening = False
        now = self._roster.parts.runtime.clock.monotonic()
        managed.restarts = [at for at in managed.restarts if now - at < RESTART_WINDOW_SECONDS] + [now]
        if len(managed.restarts) > RESTART_LIMIT:
            self._quarantine(message.name, managed, message.error)
            return
        delay = BACKOFF_SECONDS[min(len(managed.restarts), len(BACKOFF_SECONDS)) - 1]
        self._roster.parts.runtime.clock.tell_after(delay, self._roster.supervisor, Respawn(position_id=message.name))

    def respawn(self, position_id: str) -> None:
        """Ask for its snapshot."""
        managed = self._roster.managed.get(position_id)
        if managed is None or managed.ref is not None or managed.quarantined:
            return
        shard = self._roster.accounts[managed.account].settings.shard
        ask = ReadSnapshot(shard=shard, position_id=position_id, reply_to=self._roster.supervisor)
        tell(self._roster.parts.persistence, ask)

    def on_snapshot(self, message: SnapshotRead) -> None:
        """Spawn it again from what is stored; what was never saved never was."""
        managed = self._roster.managed.get(message.position_id)
        if managed is None or managed.ref is not None or managed.quarantined:
            return
        if not self._roster.accounts[managed.account].started or self._roster.draining:
            # The account stands down; when it is taken again, everything is loaded anew.
            return
        if message.error is not None:
            self.on_failed(ActorFailed(name=message.position_id, kind="PositionActor", error=str(message.error)))
            return
        if message.snapshot is None:
            # It failed before its first save: it never was.
            del self._roster.managed[message.position_id]
            self._gone(managed, message.position_id)
            return
        snapshot = message.snapshot
        if self._roster.publish_if_closed(snapshot):
            self._free_slot(message.position_id, managed)
            return
        epoch = self._roster.parts.directory.accounts[managed.account].epoch
        begin = BeginRecovery(
            state=snapshot.state,
            schema=snapshot.schema,
            version=snapshot.version,
            epoch=epoch,
            # It may have failed before it could save that the stop of a former owner is to be replaced.
            takeover=snapshot.epoch < self._roster.accounts[managed.account].unbroken_since,
            tape=self._roster.feeds.present_tape(self._roster.accounts[managed.account], managed.symbol),
        )
        self._roster.log.info("actor.respawned", actor=message.position_id, restarts=len(managed.restarts))
        tell(self._roster.parts.health, Restarted(name=message.position_id))
        self._recover(message.position_id, begin, {managed.account})

    def _free_slot(self, position_id: str, managed: Managed) -> None:
        """It had closed, and died before it could say so."""
        account = self._roster.accounts[managed.account]
        market = account.feed.markets.get(managed.symbol)
        if market is not None:
            tell(market, Unregister(position_id=position_id))
        if account.gateway is not None:
            tell(account.gateway, SlotFreed(position_id=position_id, symbol=managed.symbol))
        if market is not None:
            self._roster.feeds.desk(account, managed.symbol).end(account.settings.shard, position_id)
        del self._roster.managed[position_id]
        self._gone(managed, position_id)

    def _quarantine(self, position_id: str, managed: Managed, why: str) -> None:
        """Too many failures: see to its stop, then let it stand still, and everything else go on."""
        managed.quarantined = True
        published = self._roster.parts.directory.positions.get(position_id)
        self._tell_quarantined(position_id, managed.account, managed.symbol, why)
        if published is not None:
            self._roster.parts.directory.positions[position_id] = replace(published, quarantined=why)
        else:
            self._roster.publish_unreadable(position_id, managed.account, why)
        self._ensure_stop(managed, position_id, published.position if published else None)
        account = self._roster.accounts[managed.account]
        market = account.feed.markets.get(managed.symbol)
        if market is not None:
            tell(market, Unregister(position_id=position_id))
        self._gone(managed, position_id)

    def quarantine_unreadable(
        self, position_id: str, account: str, symbol: str, why: str, *, position: Position | None = None
    ) -> None:
        """A snapshot that cannot be read, or has nowhere to run, is left as it is, and told."""
        managed = Managed(account=account, symbol=symbol, ref=None, quarantined=True)
        self._tell_quarantined(position_id, account, symbol, why)
        self._roster.publish_unreadable(position_id, account, why, position=position)
        if account in self._roster.accounts:
            self._roster.managed[position_id] = managed
            self._ensure_stop(managed, position_id, position)

    def _tell_quarantined(self, position_id: str, account: str, symbol: str, why: str) -> None:
        self._roster.log.error(
            "actor.quarantined",
            actor=position_id,
            account=account,
            symbol=symbol,
            why=why,
            remedy="its stop on the exchange is checked; manage the position there, mend the cause, then restart",
        )

    def _ensure_stop(self, managed: Managed, position_id: str, position: Position | None) -> None:
        gateway = self._roster.accounts[managed.account].gateway
        if gateway is not None:
            tell(gateway, EnsureStop(position_id=position_id, symbol=managed.symbol, position=position))
