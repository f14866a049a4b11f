"""What a PositionActor works with, and what it tells itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from zlib import crc32

from actors.desk import Desk
from actors.directory import Directory, Published
from actors.domain.events import Effect
from actors.domain.model import Position
from actors.domain.watch import Watch
from actors.runtime.base import Clock, Ref
from actors.settings import AccountSettings

LOOK_AROUND_SECONDS = 30.0
# What all positions of a process together may ask for, so that looking around never becomes its main work.
READS_A_SECOND = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionParts:
    """What a PositionActor works with; `order_tag` is the installation's 8 hex digits."""

    position_id: str
    epoch: int
    account: AccountSettings
    symbol: str
    order_tag: str
    clock: Clock
    directory: Directory
    gateway: Ref
    market: Ref
    desk: Desk
    persistence: Ref
    supervisor: Ref
    stop_triggers: tuple[Any, ...]
    lockstep: bool
    own_time: bool
    publish: Callable[[Mapping[str, Any]], None]


class Rested(NamedTuple):
    """A position that came back as it was recorded: what its actor begins with, once something concerns it.

    Registered at its desk by others, for what `watch` names; `epoch` is its shard's.
    """

    position: Position
    version: int
    epoch: int
    watch: Watch


def look_around_seconds(position_id: str, positions: int) -> float:
    """How long until a position reads its slot again: the longer, the more positions there are, and not all at once."""
    least = positions / READS_A_SECOND
    if least <= LOOK_AROUND_SECONDS:
        return LOOK_AROUND_SECONDS
    return least * (0.5 + crc32(position_id.encode()) / 2**32)


@dataclass(frozen=True, slots=True)
class Wake:
    """A reminder that time alone may change something."""


@dataclass(frozen=True, slots=True)
class LookAround:
    """A reminder to read the slot: changes by hand are found also while nothing else happens."""


@dataclass(slots=True)
class Waiting:
    """What waits for the acknowledgement of a change."""

    change: int
    effect: Effect | None = None
    answer: Callable[[Published], None] | None = None
