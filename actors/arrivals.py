"""Arrivals: how many positions that come back at the same time say so with one message.

Whoever arrives puts its name on a list; only the first since the supervisor last looked tells it to look. Every step is
one that no thread can interrupt: a name is on the list before its actor asks whether somebody has told, and the
supervisor takes that mark away before it takes the names. So no name is ever left without somebody who told.
"""

from collections import deque
from dataclasses import dataclass

from actors.runtime.base import Ref, tell


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """Positions are reconciled after a restart and act again: those on this list."""

    arrivals: "Arrivals"


class Arrivals:
    """The positions that have arrived, and who is to hear of it."""

    __slots__ = ("_marks", "_message", "_names", "_supervisor")

    def __init__(self, supervisor: Ref) -> None:
        """Nobody has arrived."""
        self._supervisor = supervisor
        self._names: deque[str] = deque()
        self._marks: dict[str, object] = {}
        self._message = Arrived(arrivals=self)

    def add(self, position_id: str) -> None:
        """This one has arrived. From any thread."""
        self._names.append(position_id)
        mark = object()
        if self._marks.setdefault("told", mark) is mark:
            tell(self._supervisor, self._message)

    def take(self) -> list[str]:
        """All that have arrived since the last look. On the supervisor's thread."""
        self._marks.pop("told", None)
        return [self._names.popleft() for _ in range(len(self._names))]
