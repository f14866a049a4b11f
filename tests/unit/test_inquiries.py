"""What an account's gateway remembers of its orders: as long as it matters, and not for as long as it trades."""

from actors.inquiries import Pace, Recent
from actors.runtime.virtual_clock import VirtualClock


class Clock(VirtualClock):
    """A clock that is set by hand."""

    seconds = 0.0

    def monotonic(self) -> float:
        """As set."""
        return self.seconds


def test_a_moment_is_remembered_as_long_as_it_matters() -> None:
    """However many others come; and what is old makes room."""
    clock = Clock(0)
    recent = Recent(clock, 10.0)
    sizes = []
    for number in range(5_000):
        clock.seconds = number / 10
        recent.mark(str(number))
        for age in (0, 50, 99):
            if number >= age:
                assert recent.at(str(number - age)) == (number - age) / 10
        sizes.append(len(recent))
    assert max(sizes) <= 300
    recent.forget("4999")
    assert recent.at("4999") is None


def test_a_pace_lets_each_order_rest() -> None:
    """The first time at once, then not before its rest is over."""
    clock = Clock(0)
    pace = Pace(clock, 2.0)
    assert pace.due("a")
    clock.seconds = 1.9
    assert not pace.due("a")
    assert pace.due("b")
    clock.seconds = 2.0
    assert pace.due("a")
