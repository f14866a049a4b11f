"""The live feed: bounded, in order, and honest about what was missed."""

import asyncio
import threading

import pytest

from service import event_hub
from service.event_hub import EventHub, HubFull


def numbers(hub: EventHub, after: int) -> list[int]:
    """The events after a number."""
    return [event.body["n"] for event in hub.after(after)]


def test_the_ring_keeps_the_latest_in_order() -> None:
    """Old events go; what is asked for from before them begins at the oldest kept."""
    hub = EventHub(capacity=3)
    assert numbers(hub, 0) == []
    for n in range(1, 6):
        hub.publish({"n": n})
    assert numbers(hub, 0) == [3, 4, 5]
    assert numbers(hub, 4) == [5]
    assert numbers(hub, 5) == []
    assert hub.latest == 5


def test_an_id_says_where_to_go_on_and_whether_something_was_missed() -> None:
    """Ids of another process, of the future, or rubbish, begin at the oldest kept."""
    hub = EventHub(capacity=3)
    for n in range(1, 6):
        hub.publish({"n": n})
    boot = hub.after(0)[0].id.partition("-")[0]
    assert hub.position_of(f"{boot}-4") == (4, False)
    assert hub.position_of(f"{boot}-2") == (2, False)
    assert hub.position_of(f"{boot}-1") == (1, True)
    assert hub.position_of(f"{boot}-99") == (5, True)
    for rubbish in ("other-4", "", "x", f"{boot}-", f"{boot}-x", f"{boot}-{'9' * 30}"):
        assert hub.position_of(rubbish) == (2, True)


def test_a_reader_is_woken_by_another_thread() -> None:
    """And by the end."""
    hub = EventHub()

    async def follow() -> list[int]:
        reader = hub.follow()
        thread = threading.Thread(target=hub.publish, args=({"n": 7},))
        thread.start()
        await reader.wait(30)
        thread.join()
        found = numbers(hub, 0)
        hub.close()
        await reader.wait(30)
        reader.close()
        return found

    assert asyncio.run(follow()) == [7]
    assert hub.closed


def test_a_reader_whose_loop_has_ended_harms_nobody() -> None:
    """Publishing forgets it."""
    hub = EventHub()

    async def follow() -> None:
        hub.follow()

    asyncio.run(follow())
    hub.publish({"n": 1})
    assert numbers(hub, 0) == [1]


def test_there_is_a_limit_on_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit on everything."""
    monkeypatch.setattr(event_hub, "MAX_READERS", 1)
    hub = EventHub()

    async def follow() -> None:
        hub.follow()
        with pytest.raises(HubFull):
            hub.follow()

    asyncio.run(follow())
