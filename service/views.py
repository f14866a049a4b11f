"""What people are shown of a position: exactly the fields of the API, decimals as plain strings, times in RFC 3339.

Only published values are read here, so nothing is ever shown that a crash could take back.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from actors.directory import AccountStatus, Directory, FeedStatus, HealthRecord, Published
from actors.domain.model import (
    Excursion,
    Intent,
    IntentStatus,
    Micros,
    OrderKind,
    Phase,
    PlannedTarget,
    Position,
    Quote,
    Target,
)
from actors.domain.plans import plan_to_dict
from service.decimals import plain

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

POSITION_FIELDS: Final = (
    *("id", "account", "symbol", "side", "phase", "quantity", "remaining", "entry_price", "initial_stop_price"),
    *("stop_price", "stop_reason", "targets", "tp1_hit", "tp2_hit", "trailing_stop_active", "peak_price", "mae", "mfe"),
    *("realized_pnl", "fees", "funding", "net_pnl", "unrealized_pnl", "fills", "protected", "resident_stop"),
    *("pending", "dust", "last_price", "version", "epoch", "opened_at", "updated_at", "closed_at", "close_reason"),
    *("plan", "plan_revision", "tags"),
)


def moment(at: Micros | None) -> str | None:
    """RFC 3339 UTC with microseconds."""
    if at is None:
        return None
    return (_EPOCH + timedelta(microseconds=at)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def decimal(value: Decimal | None) -> str | None:
    """An exact decimal as a plain string."""
    return None if value is None else plain(value)


def phase_of(published: Published) -> str:
    """The phase that is shown: a position that stands still is quarantined, whatever it was before."""
    if published.quarantined or published.position is None:
        return Phase.QUARANTINED.value
    return published.position.phase.value


def position_view(published: Published, quote: Quote | None) -> dict[str, Any]:
    """One position as the API shows it; a snapshot that cannot be read has all fields, most of them null."""
    view: dict[str, Any] = dict.fromkeys(POSITION_FIELDS)
    view.update(
        id=published.position_id,
        account=published.account,
        phase=phase_of(published),
        version=published.version,
        epoch=published.epoch,
    )
    position = published.position
    if position is None:
        return view
    view.update(_identity(position))
    view.update(_exits(position))
    view.update(_money(position, quote))
    view.update(_orders(position))
    return view


def _identity(position: Position) -> dict[str, Any]:
    return {
        "symbol": position.symbol,
        "side": position.side.value,
        # Until something is filled, the quantity is what was asked for.
        "quantity": plain(position.quantity if position.entry_price is not None else position.requested_quantity),
        "remaining": plain(position.remaining),
        "entry_price": decimal(position.entry_price),
        "opened_at": moment(position.opened_at),
        "updated_at": moment(position.updated_at),
        "closed_at": moment(position.closed_at),
        "close_reason": position.close_reason or None,
        "plan": plan_to_dict(position.plan),
        "plan_revision": position.plan_revision,
        "tags": dict(position.tags),
        "dust": plain(position.dust),
    }


def _exits(position: Position) -> dict[str, Any]:
    hit = {target.number for target in position.targets if target.hit}
    return {
        "initial_stop_price": decimal(position.initial_stop_price),
        "stop_price": decimal(position.stop_price),
        "stop_reason": position.stop_reason.value,
        "targets": _targets(position),
        "tp1_hit": 1 in hit,
        "tp2_hit": 2 in hit,
        "trailing_stop_active": position.trailing_stop_active,
        "peak_price": decimal(position.peak_price),
        "mae": _excursion(position.mae),
        "mfe": _excursion(position.mfe),
    }


def _targets(position: Position) -> list[dict[str, Any]]:
    """Every target of the plan; before the entry is filled they have no price and quantity yet."""
    state = {target.number: target for target in position.targets}
    shown = [_target(planned, state.pop(planned.number, None)) for planned in position.plan.targets]
    # A resting target that an amendment took out of the plan stays visible when it has already closed something.
    shown += [_target(None, target) for target in state.values()]
    return sorted(shown, key=lambda target: int(target["number"]))


def _target(planned: PlannedTarget | None, target: Target | None) -> dict[str, Any]:
    return {
        "number": planned.number if planned else target.number if target else 0,
        "price": decimal(target.price) if target else None,
        "quantity": plain(target.quantity) if target else None,
        "order": _order_of(planned, target),
        "hit": target.hit if target else False,
        "filled": plain(target.filled) if target else "0",
    }


def _order_of(planned: PlannedTarget | None, target: Target | None) -> str:
    """How it closes; the order at rest of one that the exchange altered is gone."""
    if target is not None and target.software:
        return OrderKind.MARKET.value
    return planned.order.value if planned else OrderKind.LIMIT.value


def _excursion(excursion: Excursion | None) -> dict[str, Any] | None:
    if excursion is None:
        return None
    return {"price": plain(excursion.price), "percent": plain(excursion.percent), "at": moment(excursion.at)}


def _money(position: Position, quote: Quote | None) -> dict[str, Any]:
    price = None if quote is None else quote.price(position.plan.stop_source, position.side)
    return {
        "realized_pnl": plain(position.realized_pnl),
        "fees": plain(position.fees),
        "funding": plain(position.funding),
        "net_pnl": plain(position.realized_pnl - position.fees + position.funding),
        "unrealized_pnl": decimal(_unrealized(position, price)),
        "last_price": decimal(_last_price(quote)),
        "fills": [
            {
                "leg": fill.leg,
                "reason": fill.reason.value,
                "price": plain(fill.price),
                "quantity": plain(fill.quantity),
                "fee": plain(fill.fee),
                "at": moment(fill.at),
            }
            for fill in position.fills
        ],
    }


def _unrealized(position: Position, price: Decimal | None) -> Decimal | None:
    """What remains at the price its stop watches; nothing remains, nothing is unrealized."""
    if position.entry_price is None:
        return None
    if position.remaining == 0:
        return Decimal(0)
    if price is None:
        return None
    return position.side.sign * (price - position.entry_price) * position.remaining


def _last_price(quote: Quote | None) -> Decimal | None:
    if quote is None:
        return None
    return quote.mark if quote.last is None else quote.last


def _orders(position: Position) -> dict[str, Any]:
    resting = [intent for intent in position.intents if intent.resident and intent.status is IntentStatus.RESTING]
    wanted = [intent for intent in resting if not intent.cancel_requested]
    under_way = [intent for intent in position.intents if intent.resident and not intent.status.terminal]
    candidates = wanted or resting or under_way
    pending = [
        intent
        for intent in position.intents
        if not intent.status.terminal and not (intent in resting and not intent.cancel_requested)
    ]
    return {
        "protected": position.protected,
        "resident_stop": _resident(candidates[-1] if candidates else None),
        "pending": [
            {
                "leg": intent.leg,
                "quantity": plain(intent.quantity),
                "status": intent.status.value,
                "client_order_id": intent.client_order_id,
            }
            for intent in pending
        ],
    }


def _resident(intent: Intent | None) -> dict[str, Any] | None:
    if intent is None:
        return None
    return {
        "leg": intent.leg,
        "price": decimal(intent.trigger_price),
        "quantity": plain(intent.quantity - intent.filled),
        "status": intent.status.value,
    }


def account_view(status: AccountStatus, feeds: list[FeedStatus]) -> dict[str, Any]:
    """One account: its venue, its shard's lease, its feeds."""
    return {
        "account": status.account,
        "venue": status.venue,
        "shard": status.shard,
        "live_money": status.live_money,
        "epoch": status.epoch,
        "lease_held": status.lease_held,
        "reconciled": status.reconciled,
        "detail": status.detail,
        "feeds": [_feed(feed) for feed in sorted(feeds, key=lambda feed: feed.symbol)],
    }


def _feed(feed: FeedStatus) -> dict[str, Any]:
    quote = feed.quote
    return {
        "symbol": feed.symbol,
        "fresh": feed.fresh,
        "settled": feed.settled,
        "mark": decimal(quote.mark) if quote else None,
        "last": decimal(quote.last) if quote else None,
        "bid": decimal(quote.bid) if quote else None,
        "ask": decimal(quote.ask) if quote else None,
        "updated_at": moment(feed.updated_at) if feed.updated_at else None,
    }


def health_view(directory: Directory) -> dict[str, Any]:
    """Every actor's health, worst first, and whether the service is ready."""
    reasons = directory.reasons_not_ready()
    return {
        "ready": not reasons,
        "reasons": list(reasons),
        "draining": directory.draining,
        "store_reachable": directory.store_reachable,
        "at": moment(directory.health_at) if directory.health_at else None,
        "quarantined": [
            {"id": item.position_id, "account": item.account, "reason": item.quarantined or "cannot be read"}
            for item in directory.positions.everything()
            if item.quarantined or item.position is None
        ],
        "actors": [_health(record) for record in sorted(directory.health, key=_badness)],
    }


def _badness(record: HealthRecord) -> tuple[bool, bool, float, int]:
    """Sorts the silent first, then the unprotected, then those whose messages wait longest."""
    return (record.answered, record.protected is not False, -record.mailbox_age_seconds, -(record.lag or 0))


def _health(record: HealthRecord) -> dict[str, Any]:
    names = ("actor", "kind", "answered", "mailbox_depth", "mailbox_age_seconds", "processed", "restarts")
    return {name: getattr(record, name) for name in (*names, "version", "lag", "epoch", "protected", "pending")}
