"""A supervisor and a store that answer at once, and the service around them: what the edge is tested against."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pykka

from actors.directory import AccountStatus, Directory, FeedStatus, HealthRecord, Published
from actors.domain.errors import Fault
from actors.domain.model import (
    Excursion,
    Fill,
    Instrument,
    Intent,
    IntentStatus,
    OrderKind,
    OrderSide,
    Phase,
    Plan,
    Position,
    Quote,
    Reason,
    Side,
    Target,
)
from actors.domain.plans import RUNNER, parse_plan
from actors.messages import (
    Amended,
    AmendRequest,
    CloseAccepted,
    CloseRequest,
    Opened,
    OpenRequest,
    Previewed,
    Refusal,
)
from persistence.messages import ReadEvents
from persistence.store import StoreUnreachable
from service.event_hub import EventHub
from service.http import create_app
from service.http_server import HttpServer

BTC = "BTC/USDT:USDT"
AT = 1_700_000_000_123_456
PLAN = parse_plan(RUNNER, name="runner")


def opening(position_id: str = "p1", *, side: Side = Side.LONG, plan: Plan = PLAN, **changes: Any) -> Position:
    """A position whose entry is durable and not filled."""
    values: dict[str, Any] = {
        "id": position_id,
        "account": "paper",
        "symbol": BTC,
        "side": side,
        "order_tag": "abcdef01",
        "instrument": Instrument(
            symbol=BTC,
            tick_size=Decimal("0.1"),
            quantity_step=Decimal("0.001"),
            minimum_quantity=Decimal("0.001"),
        ),
        "plan": plan,
        "requested_quantity": Decimal("0.010"),
        "opened_at": AT,
        "updated_at": AT,
        "intents": (intent("entry", OrderSide.BUY, "0.010", IntentStatus.SENT),),
    }
    return Position(**{**values, **changes})


def intent(leg: str, side: OrderSide, quantity: str, status: IntentStatus, **changes: Any) -> Intent:
    """One order."""
    kind = OrderKind.STOP_MARKET if leg.startswith("resident") else OrderKind.MARKET
    values: dict[str, Any] = {
        "leg": leg,
        "reason": Reason.ENTRY if leg == "entry" else Reason.STOP_LOSS,
        "kind": kind,
        "side": side,
        "quantity": Decimal(quantity),
        "client_order_id": f"abcdef01{leg}",
        "decided_at": AT,
        "status": status,
    }
    return Intent(**{**values, **changes})


def runner(position_id: str = "p1", **changes: Any) -> Position:
    """A position whose first target is filled, with its stop at breakeven resting on the exchange."""
    resident = {"trigger_price": Decimal("60000.0")}
    values: dict[str, Any] = {
        "phase": Phase.OPEN,
        "quantity": Decimal("0.010"),
        "remaining": Decimal("0.004"),
        "entry_price": Decimal("60000.00"),
        "entry_complete": True,
        "initial_stop_price": Decimal(59100),
        "stop_price": Decimal(60000),
        "stop_reason": Reason.BREAKEVEN,
        "targets": (
            Target(number=1, price=Decimal(60600), quantity=Decimal("0.006"), hit=True, filled=Decimal("0.006")),
            Target(number=2, price=Decimal(61200), quantity=Decimal(0)),
        ),
        "mae": Excursion(price=Decimal(59900), percent=Decimal("0.1666666666666666666666666667"), at=AT),
        "mfe": Excursion(price=Decimal(60700), percent=Decimal("1.1666666666666666666666666667"), at=AT + 1),
        "realized_pnl": Decimal("3.600"),
        "fees": Decimal("0.5"),
        "funding": Decimal("-0.1"),
        "fills": (
            Fill(
                leg="entry",
                reason=Reason.ENTRY,
                price=Decimal(60000),
                quantity=Decimal("0.010"),
                fee=Decimal("0.3"),
                at=AT,
                trade_id="1",
            ),
        ),
        "intents": (
            intent("entry", OrderSide.BUY, "0.010", IntentStatus.FILLED),
            intent("resident-1", OrderSide.SELL, "0.010", IntentStatus.WITHDRAWN, **resident),
            intent("resident-2", OrderSide.SELL, "0.004", IntentStatus.RESTING, **resident),
        ),
    }
    return opening(position_id, **{**values, **changes})


def published(position: Position, **changes: Any) -> Published:
    """A position as acknowledged."""
    values: dict[str, Any] = {
        "position_id": position.id,
        "account": position.account,
        "position": position,
        "version": 3,
        "epoch": 2,
    }
    return Published(**{**values, **changes})


def quote(price: str = "60500") -> Quote:
    """Prices that all agree."""
    value = Decimal(price)
    return Quote(at=AT, mark=value, last=value, bid=value, ask=value)


def ready_directory() -> Directory:
    """One paper account, reconciled, with a fresh price and a healthy actor."""
    directory = Directory(store_reachable=True)
    directory.accounts["paper"] = AccountStatus(
        account="paper", venue="paper", shard="paper", live_money=False, epoch=2, lease_held=True, reconciled=True
    )
    directory.feeds["paper", BTC] = FeedStatus(account="paper", symbol=BTC, quote=quote(), fresh=True, updated_at=AT)
    directory.health = (
        HealthRecord(actor="gateway-paper", kind="gateway", answered=True),
        HealthRecord(actor="position-p1", kind="position", answered=False),
    )
    directory.health_at = AT
    return directory


class FakeSupervisor(pykka.ThreadingActor):
    """Answers by the symbol or id it is asked about; remembers every request."""

    use_daemon_thread = True

    def __init__(self, directory: Directory, seen: list[Any]) -> None:
        super().__init__()
        self.directory = directory
        self.seen = seen
        self.digests: dict[str, str] = {}

    def on_receive(self, message: Any) -> None:
        """Answer, or stay silent when asked about `SILENT`."""
        self.seen.append(message)
        if isinstance(message, OpenRequest):
            said = self._open(message)
        elif isinstance(message, CloseRequest):
            said = self._close(message)
        else:
            said = self._amend(message)
        if said is not None:
            message.reply.set(said)

    def _open(self, message: OpenRequest) -> Any:
        base = message.symbol.partition("/")[0]
        if base == "SILENT":
            return None
        if base == "RUBBISH":
            return "rubbish"
        if base == "FAULTS":
            faults = (
                Fault("below_minimum", "quantity", "too little"),
                Fault("crossed", "plan.stop", "already crossed"),
            )
            return Refusal(code="below_minimum", message="too little", field="quantity", faults=faults)
        if base.islower():
            return Refusal(code=base, message=f"refused: {base}")
        if message.account not in self.directory.accounts:
            return Refusal(code="unknown_account", message="no such account", field="account")
        position = opening(message.id, side=message.side or Side.LONG, plan=message.plan, tags=message.tags)
        shown = published(position, version=1)
        if message.preview:
            return Previewed(published=shown)
        if message.id in self.digests:
            if self.digests[message.id] != message.digest:
                return Refusal(code="id_taken", message="another request has this id", field="id")
            return Opened(published=shown, repeated=True)
        self.digests[message.id] = message.digest
        self.directory.positions[message.id] = shown
        return Opened(published=shown)

    def _close(self, message: CloseRequest) -> Any:
        if message.position_id not in self.directory.positions:
            return Refusal(code="not_found", message="no such position")
        return CloseAccepted(leg="manual-1", request_id=message.request_id, quantity=Decimal("0.0040"))

    def _amend(self, message: AmendRequest) -> Any:
        found = self.directory.positions.get(message.position_id)
        if found is None or found.position is None:
            return Refusal(code="not_found", message="no such position")
        if message.expected_version not in (None, found.version):
            return Refusal(code="stale_version", message="read it again")
        return Amended(published=replace(found, version=found.version + 1))


class FakePersistence(pykka.ThreadingActor):
    """Answers with the audit trail of `p1`; anything else is a store that cannot be reached."""

    use_daemon_thread = True

    def on_receive(self, message: ReadEvents) -> None:
        """Answer at once."""
        if message.position_id == "p1":
            message.reply.set([{"name": "position.target_hit", "at": AT, "number": 1}])
        else:
            message.reply.set(StoreUnreachable("redis://:hush@x is away"))


@dataclass(slots=True)
class Service:
    """A running service and what it was asked."""

    url: str
    directory: Directory
    events: EventHub
    seen: list[Any]
    server: HttpServer


@contextmanager
def running(*, token: str | None = None, answer_seconds: float = 5.0) -> Iterator[Service]:
    """The real server on a free port, with fakes behind it."""
    directory = ready_directory()
    seen: list[Any] = []
    events = EventHub()
    supervisor = FakeSupervisor.start(directory, seen)
    persistence = FakePersistence.start()
    app = create_app(
        directory=directory,
        supervisor=supervisor,
        persistence=persistence,
        plans={"runner": PLAN},
        events=events,
        token=token,
        now=lambda: AT,
        answer_seconds=answer_seconds,
    )
    server = HttpServer(app, "127.0.0.1", 0, events)
    server.start()
    try:
        yield Service(server.url, directory, events, seen, server)
    finally:
        server.stop()
        supervisor.stop()
        persistence.stop()
