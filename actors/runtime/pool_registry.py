"""pykka's registry of actors, without its searches.

pykka keeps the running actors in a list, and looks through it whenever one ends: a hundred thousand that stop one after
another would be five thousand million comparisons. This keeps the order in a dict and answers like the list.
"""

from collections.abc import Iterator
from typing import Any

import pykka

from actors.runtime.base import Ref


class Refs:
    """The part of a list that pykka.ActorRegistry uses. Its lock guards it."""

    def __init__(self, refs: list[Ref]) -> None:
        # How often each was registered: a list may hold one twice, and gives them back one at a time.
        self._counts: dict[Ref, int] = {}
        for ref in refs:
            self.append(ref)

    def append(self, ref: Ref) -> None:
        """Add it at the end; beside the first, where it is in already."""
        self._counts[ref] = self._counts.get(ref, 0) + 1

    def remove(self, ref: Ref) -> None:
        """Take it out, once. Raises ValueError where it is not in."""
        count = self._counts.pop(ref, 0)
        if not count:
            raise ValueError(f"{ref} is not registered")
        if count > 1:
            self._counts[ref] = count - 1

    def __contains__(self, ref: object) -> bool:
        return ref in self._counts

    def __iter__(self) -> Iterator[Ref]:
        for ref, count in self._counts.items():
            for _ in range(count):
                yield ref

    def __len__(self) -> int:
        return sum(self._counts.values())

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]


def install() -> None:
    """Put it in the place of pykka's list, with everything that is in there; once is enough, for every pool."""
    with pykka.ActorRegistry._actor_refs_lock:
        refs: Any = pykka.ActorRegistry._actor_refs
        if not isinstance(refs, Refs):
            registry: Any = pykka.ActorRegistry
            registry._actor_refs = Refs(refs)
