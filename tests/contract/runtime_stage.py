"""The stage of the runtimes' contract: each runtime, a way to let its actors go on, and an actor that does as told."""

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import pykka

from actors.runtime.base import Runtime
from actors.runtime.pool import PoolRuntime
from actors.runtime.simulator import Simulator
from actors.runtime.threads import ThreadRuntime

PATIENCE_SECONDS = 10.0


class Stage(Protocol):
    """A runtime under test, and a way to let its actors go on."""

    runtime: Runtime

    def until(self, condition: Callable[[], bool]) -> bool:
        """Let actors run until the condition holds; whether it did."""

    def settle(self) -> None:
        """Let actors do what they still have to do now."""


class OnThreads:
    """Waits for the threads. The patience only bounds how long a failing test takes."""

    def __init__(self, threads: ThreadRuntime | PoolRuntime) -> None:
        self.threads = threads
        self.runtime: Runtime = threads

    def until(self, condition: Callable[[], bool]) -> bool:
        """Poll until the condition holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        return True

    def settle(self) -> None:
        """Give threads a moment; only tests that something did *not* happen rely on it, and they fail only rightly."""
        time.sleep(0.05)


class Simulated:
    """Turns the simulator."""

    def __init__(self) -> None:
        self.simulator = Simulator(seed=7)
        self.runtime: Runtime = self.simulator

    def until(self, condition: Callable[[], bool]) -> bool:
        """Take turns until the condition holds."""
        return self.simulator.run(condition)

    def settle(self) -> None:
        """Take every turn there is."""
        self.simulator.run()


class Recorder(pykka.ThreadingActor):
    """A plain pykka actor that notes every hook and message in `seen`, and does as it is told."""

    def __init__(self, seen: list[object], *, fail_on_start: bool = False, fail_on_stop: bool = False) -> None:
        super().__init__()
        self.seen = seen
        self.fail_on_start = fail_on_start
        self.fail_on_stop = fail_on_stop

    def on_start(self) -> None:
        """Note it, or fail."""
        self.seen.append("started")
        if self.fail_on_start:
            raise ValueError("on_start")

    def on_stop(self) -> None:
        """Note it, or fail."""
        self.seen.append("stopped")
        if self.fail_on_stop:
            raise ValueError("on_stop")

    def on_failure(self, *args: Any) -> None:
        """Note what failed."""
        self.seen.append(("failed", str(args[1])))

    def on_receive(self, message: Any) -> Any:
        """Note a message and answer it; raise it when it is an exception; call it when it can be called."""
        if isinstance(message, Exception):
            raise message
        if callable(message):
            return message(self)
        self.seen.append(message)
        return ("answer", message)


def release(gate: Any) -> Callable[[Recorder], None]:
    """A message that keeps an actor busy until the gate is set, where actors run at the same time."""
    return lambda _: gate.wait(PATIENCE_SECONDS) if gate is not None else None


def busy_gate(stage: Stage) -> threading.Event | None:
    """Something that holds an actor back on threads; the simulator runs nothing by itself."""
    return threading.Event() if isinstance(stage, OnThreads) else None
