"""Fixtures of the contract suites."""

from collections.abc import Iterator

import pykka
import pytest

from actors.runtime.pool import PoolRuntime
from actors.runtime.threads import ThreadRuntime
from tests.contract.runtime_stage import PATIENCE_SECONDS, OnThreads, Simulated, Stage


@pytest.fixture(params=["threads", "pool", "simulator"])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Each runtime in turn, left empty."""
    if request.param == "simulator":
        simulated = Simulated()
        yield simulated
        simulated.simulator.crash()
        return
    on_threads = OnThreads(ThreadRuntime() if request.param == "threads" else PoolRuntime())
    yield on_threads
    on_threads.threads.close()
    for ref in pykka.ActorRegistry.get_all():
        on_threads.threads.stop(ref, PATIENCE_SECONDS)
