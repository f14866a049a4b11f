"""What a PositionActor works with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from actors.directory import Directory
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
