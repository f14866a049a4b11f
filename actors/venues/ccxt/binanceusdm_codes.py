"""Binance's error codes for USDⓈ-M futures, by what may be concluded from each.

Only what the exchange documents as not executed is definite; a code that is not here leaves the order unknown. Sources:
https://developers.binance.com/docs/derivatives/usds-margined-futures/error-code and …/general-info (status 503).
"""

from typing import Final

from actors.venues.base import OrderRejected, OrderUnknown, VenueError, VenueUnavailable
from actors.venues.ccxt.errors import RestError

ABSENT: Final = "-2013"
NO_LISTEN_KEY: Final = "-1125"

REJECTED: Final = {
    "-1002": "auth",
    "-1022": "auth",
    "-2014": "auth",
    "-2015": "auth",
    "-2017": "auth",
    "-4109": "auth",
    "-1021": "expired",
    "-4188": "expired",
    "-5028": "expired",
    "-1111": "quantity_step",
    "-4023": "quantity_step",
    "-4014": "price_tick",
    "-1013": "below_minimum",
    "-4003": "below_minimum",
    "-4004": "below_minimum",
    "-4164": "below_minimum",
    "-1121": "unknown_symbol",
    "-2018": "insufficient_margin",
    "-2019": "insufficient_margin",
    "-2027": "insufficient_margin",
    "-2028": "insufficient_margin",
    "-2021": "would_trigger",
    "-2022": "reduce_only",
    "-4118": "blocked_by_exits",
    "-4045": "too_many_stops",
    "-4061": "position_mode",
    "-4116": "duplicate_id",
}
"""Refused by the exchange: not executed."""

UNAVAILABLE: Final = {
    "-1003": "rate_limited",
    "-1015": "rate_limited",
    "-1008": "overloaded",
    "-1016": "overloaded",
    "-1102": "malformed",
    "-1115": "malformed",
    "-1116": "malformed",
    "-1117": "malformed",
    "-1128": "malformed",
    "-1130": "malformed",
    "-2025": "too_many_orders",
    "-4005": "above_maximum",
    "-4131": "price_band",
    "-4140": "symbol_closed",
    "-4141": "symbol_closed",
    "-4192": "cooling_off",
    "-4400": "only_reductions",
}
"""Not executed either, for a reason that may pass."""

# Two of the three texts that come with a status of 503; the third, "Unknown error, …", says nothing about the order.
_FAILED: Final = ("Service Unavailable", "Internal error; unable to process your request. Please try again")
_TOO_MANY: Final = (418, 429)
_UNAVAILABLE_STATUS: Final = 503


def concluded(error: RestError) -> VenueError:
    """What one reply says of the write that it answers."""
    if error.status in _TOO_MANY:
        return VenueUnavailable("rate_limited", error.message)
    if error.code in UNAVAILABLE:
        return VenueUnavailable(UNAVAILABLE[error.code], error.message)
    if error.status == _UNAVAILABLE_STATUS:
        if error.message.startswith(_FAILED):
            return VenueUnavailable("overloaded", error.message)
        return OrderUnknown("unknown", error.message)
    if error.code in REJECTED:
        return OrderRejected(REJECTED[error.code], error.message)
    return OrderUnknown("unknown", f"HTTP {error.status}: {error.code} {error.message}".strip())
