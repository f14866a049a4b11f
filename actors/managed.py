"""The positions at work, by id and by slot: who holds a slot is found at once among a hundred thousand."""

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from actors.runtime.base import Ref

PREVIEW = "preview:"


@dataclass(slots=True)
class Managed:
    """One position's actor, and its restarts. Account and symbol, its slot, do not change."""

    account: str
    symbol: str
    ref: Ref | None
    digest: str = ""
    opening: bool = False
    restarts: list[float] = field(default_factory=list)
    quarantined: bool = False


class ManagedPositions(MutableMapping[str, Managed]):
    """Managed positions by id, in the order in which they came. A preview holds no slot."""

    def __init__(self) -> None:
        self._all: dict[str, Managed] = {}
        self._slots: dict[tuple[str, str], list[str]] = {}

    def __getitem__(self, name: str) -> Managed:
        """One position. Raises KeyError."""
        return self._all[name]

    def get(self, name: str, default: Any = None) -> Any:
        """One position, or the default: asked many times of each, and looked for only once."""
        return self._all.get(name, default)

    def __setitem__(self, name: str, managed: Managed) -> None:
        """Manage a position, or put another life of it in place of the former."""
        former = self._all.get(name)
        if former is not None:
            self._leave(name, former)
        self._all[name] = managed
        if not name.startswith(PREVIEW):
            self._slots.setdefault((managed.account, managed.symbol), []).append(name)

    def __delitem__(self, name: str) -> None:
        """It is managed no more. Raises KeyError."""
        self._leave(name, self._all.pop(name))

    def __iter__(self) -> Iterator[str]:
        """The ids."""
        return iter(self._all)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._all)

    def holder(self, account: str, symbol: str) -> str | None:
        """The position that holds a slot, the first where there should be several."""
        holders = self._slots.get((account, symbol))
        return holders[0] if holders else None

    def _leave(self, name: str, managed: Managed) -> None:
        slot = managed.account, managed.symbol
        holders = self._slots.get(slot, [])
        if name in holders:
            holders.remove(name)
            if not holders:
                del self._slots[slot]
