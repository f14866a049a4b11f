"""Arrivals: many that come back are told with few messages, and none is ever left out."""

import threading
from typing import Any, cast

from actors.arrivals import Arrivals, Arrived


class Supervisor:
    """Keeps what it is told, and looks at once where it is told to."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def tell(self, message: object) -> None:
        """Keep it."""
        self.told.append(message)


def test_those_that_arrive_before_the_next_look_are_told_once() -> None:
    """One message for all of them; the next one that arrives after the look tells again."""
    supervisor = Supervisor()
    arrivals = Arrivals(cast(Any, supervisor))
    for name in ("a", "b", "c"):
        arrivals.add(name)
    assert supervisor.told == [Arrived(arrivals=arrivals)]
    assert arrivals.take() == ["a", "b", "c"]
    arrivals.add("d")
    assert len(supervisor.told) == 2
    assert arrivals.take() == ["d"]
    assert arrivals.take() == []


def test_none_is_left_out_between_many_threads() -> None:
    """Whoever looks once for each message, and for no other reason, finds every name exactly once."""
    supervisor = Supervisor()
    arrivals = Arrivals(cast(Any, supervisor))

    def arrive(first: int) -> None:
        for number in range(first, first + 2000):
            arrivals.add(str(number))

    threads = [threading.Thread(target=arrive, args=(first,)) for first in range(0, 8000, 2000)]
    found: list[str] = []
    looks = 0
    for thread in threads:
        thread.start()
    while looks < len(supervisor.told) or any(thread.is_alive() for thread in threads):
        if looks < len(supervisor.told):
            looks += 1
            found += arrivals.take()
    assert sorted(found, key=int) == [str(number) for number in range(8000)]
