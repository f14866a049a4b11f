"""The garbage collector while the service boots."""

import gc
import sys
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from service.memory import BootMemory


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """Left as it was found."""
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()
    gc.enable()


def finished(memory: BootMemory) -> None:
    """Wait for the end of the boot."""
    assert memory.booted.wait(30)


class Cycle:
    """Holds itself."""

    def __init__(self) -> None:
        self.me = self


def test_nothing_is_collected_until_the_accounts_have_resumed() -> None:
    """Then what is there is frozen, and the collector goes on."""
    resumed = threading.Event()
    memory = BootMemory(resumed.is_set)
    frozen = gc.get_freeze_count()
    memory.begin()
    assert not gc.isenabled()
    assert gc.get_freeze_count() == frozen
    resumed.set()
    finished(memory)
    assert gc.isenabled()
    assert gc.get_freeze_count() > frozen
    memory.end()
    assert gc.get_freeze_count() == 0


def test_a_boot_that_never_ends_is_collected_all_the_same() -> None:
    """An account may wait for its venue for hours; memory must not grow for as long."""
    memory = BootMemory(lambda: False, limit_seconds=0.1)
    memory.begin()
    finished(memory)
    assert gc.isenabled()
    memory.end()


def test_a_service_that_stops_while_it_boots_leaves_the_collector_on() -> None:
    """And ending twice, or what never began, is harmless."""
    memory = BootMemory(lambda: False)
    memory.end()
    memory.begin()
    memory.begin()
    memory.end()
    memory.end()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_a_collector_that_somebody_else_has_switched_off_stays_off() -> None:
    """It is not ours to switch on."""
    gc.disable()
    memory = BootMemory(lambda: True)
    memory.begin()
    memory.end()
    assert not gc.isenabled()


def test_from_then_on_it_looks_less_often() -> None:
    """Messages leave no cycles; and who stops finds the collector as it was."""
    before = gc.get_threshold()
    memory = BootMemory(lambda: True)
    memory.begin()
    finished(memory)
    assert gc.get_threshold()[0] > before[0]
    memory.end()
    assert gc.get_threshold() == before


def test_what_is_old_is_looked_through_only_when_memory_grows() -> None:
    """A cycle that was frozen is found then; as long as nothing grows, nobody is stopped for it."""
    gc.collect()  # The next run of the collector is then far off.
    lost = weakref.ref(Cycle())
    memory = BootMemory(lambda: True, watch_seconds=0.01, growth_blocks=20_000)
    memory.begin()
    finished(memory)
    time.sleep(0.1)
    assert lost() is not None
    assert memory.walks == 0
    grown = [[number] for number in range(sys.getallocatedblocks())]
    deadline = time.monotonic() + 30
    while not memory.walks and time.monotonic() < deadline:
        time.sleep(0.01)
    memory.end()
    assert lost() is None
    assert grown
