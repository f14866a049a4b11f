"""What the edge (HTTP, command line) asks of the actors, and what it is answered.

A request carries a `reply`: the answer is set there once it is durable, possibly much later, or never; the edge waits
with a timeout. Answers are one of Opened, Previewed, CloseAccepted, Amended, Refusal.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from actors.directory import Published
from actors.domain.errors import Fault
from actors.domain.model import Plan, Side
from actors.runtime.base import Ref, Reply

# -- requests, told to the SupervisorActor -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRequest:
    """Open or adopt a position. `digest` stands for the whole request, so that an identical repeat is recognised.

    `side` and `quantity` may be None only when adopting (they are the venue's then). `foreign_orders` is "", "keep" or
    "cancel". With `preview` nothing is sent or saved.
    """

    id: str
    account: str
    symbol: str
    side: Side | None
    quantity: Decimal | None
    plan: Plan
    digest: str
    reply: Reply
    adopt: bool = False
    foreign_orders: str = ""
    act_now: bool = False
    preview: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseRequest:
    """Close a fraction of a position; see CloseManually."""

    position_id: str
    fraction: Decimal
    request_id: str
    reply: Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class AmendRequest:
    """Amend the plan. `body` is the plan as JSON (targets may carry their numbers). `expected_version` None: any."""

    position_id: str
    body: Mapping[str, Any]
    reply: Reply
    expected_version: int | None = None
    allow_looser_stop: bool = False
    act_now: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotQuestion:
    """Who holds a slot? `symbol` is ccxt's spelling or TradingView's (`BINANCE:BTCUSDT.P`)."""

    account: str
    symbol: str
    reply: Reply


# -- answers -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The position, its entry intent durable. `repeated`: an identical request had opened it before."""

    published: Published
    repeated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Previewed:
    """Every price and quantity the request would lead to: a position that was never saved."""

    published: Published


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseAccepted:
    """The close is decided and durable."""

    leg: str
    request_id: str
    quantity: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Amended:
    """The position under its new revision."""

    published: Published


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotAnswer:
    """The slot's symbol as we write it, and the id of the position that holds it; "" when nobody does."""

    symbol: str
    position_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Definitely not accepted, nothing changed.

    `code` is constant (`id_taken`, `slot_taken`, `closing`, `unmanaged_position`, `foreign_exit_orders`,
    `unknown_account`, `unknown_symbol`, `not_found`, `stale_version`, `not_ready`, `not_owner`, `storage`,
    `quarantined`, or a fault's code); `faults` lists what is wrong field by field where more than one thing may be.
    """

    code: str
    message: str
    field: str = ""
    faults: tuple[Fault, ...] = ()


# -- between the edge and the supervisor: the end ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainService:
    """Stop taking requests, let what is under way become durable, release the leases, stop the actors.

    True is set on `reply` at the end.
    """

    reply: Reply


__all__ = [
    "AmendRequest",
    "Amended",
    "CloseAccepted",
    "CloseRequest",
    "DrainService",
    "OpenRequest",
    "Opened",
    "Previewed",
    "Ref",
    "Refusal",
    "SlotAnswer",
    "SlotQuestion",
]
