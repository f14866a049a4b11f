"""The lowest and the highest price since any moment that somebody may ask about, of one source of one symbol.

Two monotonic stacks: an entry is the lowest (highest) of all prices from its own on, so that "since n" is the first
entry after n. Only moments that were handed out as points are asked about: where none lies between two entries, the
later one is not kept, and a symbol that nobody asks about holds one entry of each.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from operator import itemgetter
from typing import Any

from actors.domain.model import Micros
from actors.domain.watch import Missed

SOURCES = ("mark", "last", "bid", "ask")

Entry = tuple[Decimal, Micros, int]
Extremes = tuple[Decimal | None, Micros, Decimal | None, Micros]

NOTHING: Extremes = (None, 0, None, 0)
_SEQUENCE = itemgetter(2)


class Tape:
    """The suffix extremes of one source. Sequences only grow; 0 is a point from the beginning."""

    __slots__ = ("_highs", "_lows", "mark")

    def __init__(self) -> None:
        self._lows: list[Entry] = []
        self._highs: list[Entry] = []
        self.mark = 0

    def __len__(self) -> int:
        """How many entries it holds."""
        return len(self._lows) + len(self._highs)

    def point(self, sequence: int) -> None:
        """From now on somebody may ask for the prices after this sequence, which is the present one."""
        self.mark = max(self.mark, sequence)

    def point_back(self, sequence: int, later: Iterable[Entry]) -> None:
        """The same for a sequence in the past; `later` are all prices after it, oldest first."""
        lowest: Entry | None = None
        highest: Entry | None = None
        for entry in later:
            if lowest is None or entry[0] < lowest[0]:
                lowest = entry
            if highest is None or entry[0] > highest[0]:
                highest = entry
        for stack, extreme in ((self._lows, lowest), (self._highs, highest)):
            index = bisect_right(stack, sequence, key=_SEQUENCE)
            if extreme is not None and (index == len(stack) or stack[index][2] != extreme[2]):
                stack.insert(index, extreme)
        self.mark = max(self.mark, sequence)

    def push(self, price: Decimal, at: Micros, sequence: int) -> tuple[Decimal, Decimal]:
        """The newest price. One that only repeats an extreme is later, and therefore not it.

        Returns the band in which prices, both ends included, change nothing here and need not be pushed until the next
        point.
        """
        mark, highs, lows = self.mark, self._highs, self._lows
        while highs and highs[-1][0] < price:
            highs.pop()
        if not highs or highs[-1][2] <= mark:
            highs.append((price, at, sequence))
        while lows and lows[-1][0] > price:
            lows.pop()
        if not lows or lows[-1][2] <= mark:
            lows.append((price, at, sequence))
        return lows[-1][0], highs[-1][0]

    def since(self, sequence: int) -> Extremes:
        """Low, when, high, when, of all prices after a point; each with the time it was first there."""
        return _since(self._lows, self._highs, sequence)

    def prune(self, points: Sequence[int]) -> None:
        """Forget what answers none of these points, which are in order; 0 is always one of them."""
        points = points if points and points[0] == 0 else (0, *points)
        self._lows = _pruned(self._lows, points)
        self._highs = _pruned(self._highs, points)

    def newest(self) -> tuple[int, int]:
        """The sequences of the newest low and high that it keeps."""
        return (self._lows[-1][2], self._highs[-1][2]) if self._lows else (0, 0)

    def entries(self, after: int) -> tuple[list[Entry], list[Entry]]:
        """Lows and highs later than this sequence, oldest first."""
        lows, highs = (stack[bisect_right(stack, after, key=_SEQUENCE) :] for stack in (self._lows, self._highs))
        return lows, highs

    def dump(self, after: int) -> dict[str, list[list[Any]]]:
        """What answers points from `after` on, as plain lists."""
        return {
            name: [[str(price), at, number] for price, at, number in stack if number > after]
            for name, stack in (("lows", self._lows), ("highs", self._highs))
        }


def _since(lows: list[Entry], highs: list[Entry], sequence: int) -> Extremes:
    if not lows or not highs or lows[-1][2] <= sequence or highs[-1][2] <= sequence:
        return NOTHING
    low = bisect_right(lows, sequence, key=_SEQUENCE)
    high = bisect_right(highs, sequence, key=_SEQUENCE)
    return lows[low][0], lows[low][1], highs[high][0], highs[high][1]


def _pruned(stack: list[Entry], points: Sequence[int]) -> list[Entry]:
    kept, before = [], 0
    for entry in stack:
        index = bisect_left(points, before)
        if index < len(points) and points[index] < entry[2]:
            kept.append(entry)
        before = entry[2]
    return kept


# -- what was saved of it ----------------------------------------------------------------------------------------------


class StoredTape:
    """The tapes of one symbol as they were saved: what a position's saved state has not seen yet."""

    __slots__ = ("_sources", "after", "at", "lineage", "sequence")

    def __init__(self, plain: object) -> None:
        """Raises ValueError for anything but what PriceBook.dump made."""
        fields = _fields(plain, ("lineage", "sequence", "at", "from", "sources"))
        if not isinstance(fields["lineage"], str):
            raise ValueError("tape: lineage is no text")
        self.lineage: str = fields["lineage"]
        self.sequence = _count(fields["sequence"])
        self.at: Micros = _count(fields["at"])
        self.after = _count(fields["from"])
        self._sources: dict[str, tuple[list[Entry], list[Entry]]] = {}
        for name, stacks in _fields(fields["sources"], SOURCES).items():
            lists = _fields(stacks, ("lows", "highs"))
            lows, highs = self._entries(lists["lows"]), self._entries(lists["highs"])
            if [entry[0] for entry in lows] != sorted(entry[0] for entry in lows):
                raise ValueError(f"tape: the lows of {name} fall")
            if [entry[0] for entry in highs] != sorted((entry[0] for entry in highs), reverse=True):
                raise ValueError(f"tape: the highs of {name} rise")
            if bool(lows) != bool(highs):
                raise ValueError(f"tape: {name} has only lows or only highs")
            self._sources[name] = lows, highs

    def missed(self, lineage: str, seen: int, source: str) -> Missed:
        """The extremes after `seen`; all that it holds for a position that has seen none of this lineage."""
        lows, highs = self._sources[source]
        low, low_at, high, high_at = _since(lows, highs, seen if lineage == self.lineage else 0)
        return Missed(low=low, low_at=low_at, high=high, high_at=high_at)

    def entries(self, source: str) -> tuple[list[Entry], list[Entry]]:
        """Lows and highs of a source, oldest first."""
        return self._sources[source]

    def _entries(self, plain: object) -> list[Entry]:
        if not isinstance(plain, list | tuple):
            raise ValueError("tape: entries are no list")
        found: list[Entry] = []
        for entry in plain:
            if not isinstance(entry, list | tuple) or len(entry) != 3 or not isinstance(entry[0], str):
                raise ValueError(f"tape: {entry!r} is no price, time and sequence")
            number = _count(entry[2])
            if not (found[-1][2] if found else self.after) < number <= self.sequence:
                raise ValueError(f"tape: sequence {number} is out of order")
            found.append((_price(entry[0]), _count(entry[1]), number))
        return found


def _fields(plain: object, names: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(plain, dict) or set(plain) != set(names):
        raise ValueError(f"tape: not the fields {', '.join(names)}")
    return plain


def _count(plain: object) -> int:
    if not isinstance(plain, int) or isinstance(plain, bool) or plain < 0:
        raise ValueError(f"tape: {plain!r} is no count")
    return plain


def _price(plain: str) -> Decimal:
    try:
        price = Decimal(plain)
    except InvalidOperation:
        raise ValueError(f"tape: {plain!r} is no price") from None
    if not price.is_finite():
        raise ValueError(f"tape: {plain!r} is no price")
    return price
