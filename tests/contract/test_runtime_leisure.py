"""What is told at leisure: others go first while something presses, nothing is lost, nothing waits for ever."""

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pykka
import pytest

from actors.domain.model import OrderKind
from actors.runtime.base import Ref, Runtime, tell, tell_at_leisure
from actors.runtime.pool import PoolRuntime
from actors.runtime.pool_mailbox import Mailbox, Queue
from actors.runtime.threads import ThreadRuntime
from actors.venues.base import LookUpRequest
from actors.venues.paper import PaperFloor
from actors.venues.paper_queue import FEW_REQUESTS, Asked, Door
from tests.contract.test_runtime_load import PATIENCE_SECONDS, until
from tests.unit.test_paper_ledger import SYMBOL, settings

MESSAGES = 400


class Noting(pykka.ThreadingActor):
    """Notes what it is told, and whether two threads ever ran it at once."""

    use_daemon_thread = True

    def __init__(self, notes: list[Any]) -> None:
        super().__init__()
        self.notes = notes
        self.running = threading.Lock()

    def on_receive(self, message: Any) -> None:
        """Note it."""
        assert self.running.acquire(blocking=False)
        self.notes.append(message)
        self.running.release()


@pytest.fixture(params=[ThreadRuntime, PoolRuntime])
def runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    """Each runtime that uses threads."""
    made = request.param()
    yield made
    for ref in pykka.ActorRegistry.get_all():
        made.stop(ref, PATIENCE_SECONDS)
    made.close()


def a_queue() -> Queue:
    """A pool's queue that no thread works off."""
    queue = Queue()
    queue.attention = SimpleNamespace(calm=True)
    return queue


def test_who_is_told_at_leisure_is_ready_when_nothing_presses() -> None:
    """All at once, oldest first."""
    queue = a_queue()
    boxes = [Mailbox(queue) for _ in range(3)]
    for box in boxes:
        box.put_at_leisure("later")
    assert not queue.ready
    assert queue.make_some_ready(0)
    assert list(queue.ready) == boxes
    assert not queue.make_some_ready(0)


def test_while_something_presses_only_so_many_become_ready() -> None:
    """Whatever it is that presses, and however many wait."""
    queue, pressing = a_queue(), [True]
    queue.pressing = [lambda: False, lambda: pressing[0]]
    boxes = [Mailbox(queue) for _ in range(5)]
    for box in boxes:
        box.put_at_leisure("later")
    assert not queue.make_some_ready(0)
    assert queue.make_some_ready(2)
    assert list(queue.ready) == boxes[:2]
    pressing.clear()
    pressing.append(False)
    assert queue.make_some_ready(0)
    assert list(queue.ready) == boxes


def test_another_message_makes_ready_whoever_waits() -> None:
    """An order must not wait behind an answer that may; it is queued once, and its messages keep their order."""
    queue = a_queue()
    waits, promoted = Mailbox(queue), Mailbox(queue)
    waits.put_at_leisure("later")
    promoted.put_at_leisure("answer")
    promoted.put("order")  # type: ignore[arg-type]
    promoted.put_at_leisure("another answer")
    promoted.put("another order")  # type: ignore[arg-type]
    assert list(queue.ready) == [promoted]
    assert list(queue.at_leisure) == [waits]
    assert promoted.waiting == ["answer", "order", "another answer", "another order"]


def test_nothing_waits_for_ever(runtime: Runtime) -> None:
    """Though something presses all the time, and nobody tells anything else."""
    runtime.let_wait_while(lambda: True)
    notes: list[Any] = []
    refs = [runtime.spawn(Noting, notes) for _ in range(50)]
    for number, ref in enumerate(refs):
        assert tell_at_leisure(ref, number)
    assert until(lambda: len(notes) == len(refs))
    assert sorted(notes) == list(range(50))


def test_what_an_exchange_left_unserved_presses_nobody() -> None:
    """It failed with requests in its queue, and its accounts do not come back: everything else goes on as ever."""
    pressing: list[Callable[[], object]] = []
    ended: Any = SimpleNamespace(tell=lambda _: None, is_alive=lambda: False)
    runtime: Any = SimpleNamespace(let_wait_while=pressing.append, spawn=lambda *_, **__: ended, clock=None)
    floor = PaperFloor(
        settings=settings(":memory:"), runtime=runtime, exchange=cast(Any, SimpleNamespace(instruments={}))
    )
    door = Door("paper", ended)
    _, queue = floor.enter(door)
    request = LookUpRequest(request_id="1", account="paper", symbol=SYMBOL, client_order_id="a", kind=OrderKind.MARKET)
    for _ in range(FEW_REQUESTS + 1):
        queue.put(Asked(door, request), ended)
    assert pressing[0]()
    floor.leave(door)
    assert not pressing[0]()


def test_who_has_ended_is_told_nothing(runtime: Runtime) -> None:
    """The sender lives on."""
    ref = runtime.spawn(Noting, [])
    assert runtime.stop(ref, PATIENCE_SECONDS)
    assert not tell_at_leisure(ref, "late")


def test_order_holds_and_nothing_is_lost_while_it_presses_now_and_then(runtime: Runtime) -> None:
    """Several senders, each in both ways, to several actors."""
    presses = iter(range(10**9))
    runtime.let_wait_while(lambda: next(presses) % 3)
    notes: list[list[Any]] = [[] for _ in range(5)]
    refs: list[Ref] = [runtime.spawn(Noting, each) for each in notes]

    def send(sender: int) -> None:
        for number in range(MESSAGES):
            for place, ref in enumerate(refs):
                (tell_at_leisure if (number + place) % 3 else tell)(ref, (sender, number))

    senders = [threading.Thread(target=send, args=(sender,)) for sender in range(3)]
    for thread in senders:
        thread.start()
    for thread in senders:
        thread.join(PATIENCE_SECONDS)
    assert until(lambda: all(len(each) == MESSAGES * 3 for each in notes))
    for each in notes:
        for sender in range(3):
            assert [number for who, number in each if who == sender] == list(range(MESSAGES))
    assert all(ref.is_alive() for ref in refs)
