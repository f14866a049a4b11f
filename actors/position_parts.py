"""What a PositionActor works with, and what it tells itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from actors.directory import Directory, Published
from actors.domain.events import Effect
from actors.runtime.base import Clock, Ref
from actors.settings import AccountSettings


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
    persistence: Ref
    supervisor: Ref
    stop_triggers: tuple[Any, ...]
    lockstep: bool
    own_time: bool
    publish: Callable[[Mapping[str, Any]], None]


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
