"""Holding the streams of one account: one tight reader each, connected anew whenever one breaks or falls silent.

Streams are wake-ups. What one may have missed is told as StreamRestored, upon which everything is read by REST.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from actors.venues.ccxt.budget import Priority
from actors.venues.ccxt.client import CALL, STREAM, Call
from actors.venues.ccxt.dialect import Dialect, StreamSpec

LOOK_SECONDS = 0.1
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 15.0
STEADY_SECONDS = 30.0


@dataclass(slots=True)
class _Held:
    spec: StreamSpec
    heard: float
    frames: int = 0
    up: bool = False
    broken: str = ""


class Streams:
    """The streams of one account. Lives on the loop."""

    def __init__(
        self,
        dialect: Dialect,
        *,
        monotonic: Callable[[], float],
        symbols: Callable[[], list[str]],
        restored: Callable[[StreamSpec], None],
        scrubbed: Callable[[object], str],
        lost: Callable[[StreamSpec], None],
    ) -> None:
        """`restored` is called each time a stream is up, `lost` each time it broke."""
        self._dialect = dialect
        self._monotonic = monotonic
        self._symbols = symbols
        self._restored = restored
        self._scrubbed = scrubbed
        self._lost = lost
        self._held = {spec.name: _Held(spec, monotonic()) for spec in dialect.streams()}
        self._log = structlog.get_logger().bind(account=dialect.settings.account)

    @property
    def names(self) -> list[str]:
        """Every stream, private ones first."""
        return sorted(self._held, key=lambda name: not self._held[name].spec.private)

    def private_up(self) -> bool:
        """Whether everything that happens to orders is heard now."""
        return all(held.up for held in self._held.values() if held.spec.private)

    def heard(self, name: str) -> None:
        """A message came."""
        if name in self._held:
            self._held[name].heard = self._monotonic()

    def up(self, name: str) -> None:
        """A stream is subscribed."""
        held = self._held[name]
        held.up = True
        held.heard = self._monotonic()
        self._restored(held.spec)

    def broken(self, name: str, why: str) -> None:
        """A stream has to be connected anew."""
        if name in self._held:
            self._held[name].broken = why

    async def follow(self, symbol: str) -> None:
        """One more symbol: streams that are up subscribe it; the others will when they connect."""
        for name, held in self._held.items():
            if held.up and not held.spec.private:
                try:
                    await self._dialect.follow(name, symbol)
                except Exception as error:  # noqa: BLE001 - whatever it is, the stream cannot be trusted
                    self.broken(name, f"could not subscribe {symbol}: {self._scrubbed(error)}")

    async def keep(self, name: str) -> None:
        """Hold one stream until cancelled."""
        held = self._held[name]
        pause = FIRST_PAUSE_SECONDS
        STREAM.set(name)
        # What a stream asks for by REST (a key to listen with) goes before ordinary reads.
        CALL.set(Call(priority=Priority.LOOK, queue_seconds=self._dialect.settings.queue_timeout_seconds))
        while True:
            while not held.spec.private and not self._symbols():
                await asyncio.sleep(LOOK_SECONDS)
            held.heard = began = self._monotonic()
            held.up, held.broken, held.frames = False, "", 0
            task = asyncio.create_task(self._dialect.hold(name, self._symbols()))
            try:
                why = await self._until_broken(held, task)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                held.up = False
                await self._dialect.exchange.drop(name)
            self._lost(held.spec)
            self._log.warning("feed.stale", stream=name, why=why)
            if self._monotonic() - began > STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _until_broken(self, held: _Held, task: asyncio.Task[None]) -> str:
        while True:
            await asyncio.wait({task}, timeout=LOOK_SECONDS)
            if task.done():
                # A connection that closes cancels what waits on it: that is no cancellation of ours.
                return "closed" if task.cancelled() else self._scrubbed(task.exception() or "ended")
            if held.broken:
                return held.broken
            if held.spec.pongs and (frames := self._dialect.exchange.frames_at(held.spec.name)) != held.frames:
                held.frames, held.heard = frames, self._monotonic()
            silent = self._monotonic() - held.heard
            if silent > held.spec.silent_after_seconds:
                return f"silent for {silent:.0f} s"
