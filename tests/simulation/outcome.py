"""What must be the same with and without crashes: legs, reasons, quantities, prices, times, extremes, money."""

from typing import Any

from actors.domain.model import Position


def outcome(position: Position) -> dict[str, Any]:
    """The facts of a position that no crash may change; versions, ids and resident numbers may differ."""
    return {
        "phase": position.phase,
        "fills": [(fill.leg, fill.reason, fill.quantity, fill.price, fill.fee, fill.at) for fill in position.fills],
        "targets": [(t.number, t.price, t.quantity, t.hit, t.hit_at, t.filled) for t in position.targets],
        "quantity": position.quantity,
        "remaining": position.remaining,
        "entry_price": position.entry_price,
        "stop": (position.initial_stop_price, position.stop_price, position.stop_reason),
        "trail": (position.trailing_stop_active, position.peak_price, position.peak_at),
        "mae": position.mae,
        "mfe": position.mfe,
        "money": (position.realized_pnl, position.fees, position.funding, position.dust),
        "closed": (position.close_reason, position.closed_at),
        "approximate": position.extremes_approximate,
    }
