"""The trigger book of a symbol at work: what it adds is what a keeper needs to save and to go on from what was saved.

Sequences only grow, also over restarts: a shard that comes to a symbol brings the tape that was stored for it, and from
then on every price has a higher number than any its positions have seen.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from actors.domain.price_book import PriceBook
from actors.domain.tape import NOTHING, SOURCES, Entry, StoredTape
from actors.domain.watch import Missed

_NOTHING_MISSED = Missed()


class LiveBook(PriceBook):
    """A PriceBook that is saved, and goes on from what was saved."""

    def skip_to(self, sequence: int) -> None:
        """Number the next price higher than this."""
        if sequence > self.sequence:
            # The ring counts back from the latest tick: what was before is known by its extremes alone.
            self._before = self._known
            self._quotes.clear()
            self.sequence = sequence
            self._hand_out(sequence)

    def serial(self, key: str) -> int:
        """The number of the latest registration under this name; 0 where there is none."""
        registration = self._registrations.get(key)
        return 0 if registration is None else registration.serial

    def here(self) -> int:
        """The present sequence, as a point: prices after it can be asked for from now on."""
        self._hand_out(self.sequence)
        return self.sequence

    def missed_since(self, point: int, source: str) -> Missed:
        """What a source did after a point."""
        extremes = self._by_name[source].tape.since(point)
        if extremes is NOTHING:
            return _NOTHING_MISSED
        low, low_at, high, high_at = extremes
        return Missed(low=low, low_at=low_at, high=high, high_at=high_at)

    @property
    def signature(self) -> tuple[int, ...]:
        """Changes whenever a copy of the tapes would."""
        return tuple(number for field in self._fields for number in field.tape.newest())

    def copy(self, *, after: int, before: StoredTape | None, points: Collection[int] | None = None) -> StoredTape:
        """What the tapes say from `after` on, and `before` that what was stored: as StoredTape(plain).

        With `points`, only what answers these (of saved states).
        """
        wanted = None if points is None else sorted({0, *points})
        sources: dict[str, Any] = {}
        for name in SOURCES:
            lows, highs = self._by_name[name].tape.entries(after)
            if before is not None:
                old_lows, old_highs = before.entries(name)
                lows = [entry for entry in old_lows if not lows or entry[0] <= lows[0][0]] + lows
                highs = [entry for entry in old_highs if not highs or entry[0] >= highs[0][0]] + highs
            sources[name] = {"lows": _plain(lows, wanted), "highs": _plain(highs, wanted)}
        return StoredTape(
            {
                "lineage": self.lineage,
                "sequence": self.sequence,
                "at": max(self._at, before.at if before is not None else 0),
                "from": after if before is None else before.after,
                "sources": sources,
            }
        )


def plain_of(tape: StoredTape) -> dict[str, Any]:
    """A stored tape as it is encoded."""
    return {
        "lineage": tape.lineage,
        "sequence": tape.sequence,
        "at": tape.at,
        "from": tape.after,
        "sources": {
            name: dict(zip(("lows", "highs"), map(_plain, tape.entries(name)), strict=True)) for name in SOURCES
        },
    }


def _plain(entries: Iterable[Entry], points: Sequence[int] | None = None) -> list[list[Any]]:
    found: list[list[Any]] = []
    before = 0
    for price, at, number in entries:
        if points is not None:
            index = bisect_left(points, before)
            before = number
            if index == len(points) or points[index] >= number:
                continue
        found.append([str(price), at, number])
    return found
