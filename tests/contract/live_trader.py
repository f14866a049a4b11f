"""A trader on a venue behind real sockets: it runs on threads, and waits by the wall."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from actors.runtime.threads import ThreadRuntime
from actors.venues.ccxt.settings import CcxtSettings
from actors.venues.ccxt.venue import open_ccxt_venue
from tests.contract.venue_contract import Trader

BOUND_SECONDS = 15.0


def until(condition: Callable[[], bool]) -> bool:
    """Wait until it is so; the bound only ends a test that has failed already."""
    deadline = time.monotonic() + BOUND_SECONDS
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


@contextmanager
def trading(settings: CcxtSettings, make: type[Trader] = Trader) -> Iterator[Trader]:
    """A trader on a new connection, which ends with the test."""
    runtime = ThreadRuntime()
    trader = make(open_ccxt_venue(settings, runtime.clock), runtime, until)
    try:
        yield trader
    finally:
        trader.venue.stop()
        runtime.stop(trader.listener, 5)
        runtime.close()
