"""What the paper exchange server refuses, in Binance's codes and words.

Sources: the error codes and the general information of Binance's USDⓈ-M futures documentation. A code that is sent with
another HTTP status than 400 says so here.
"""

from typing import Final

from actors.venues.base import VenueError

_STATUS: Final = {-1003: 429, -1007: 408, -1015: 429, -1099: 404, -2014: 401, -2015: 401}
_WORDS: Final = {
    -1003: "Too many requests; current limit is {} requests per minute. Please use the websocket for live updates to "
    "avoid polling the API.",
    -1007: "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
    -1008: "Server is currently overloaded with other requests. Please try again in a few minutes.",
    -1013: "Invalid quantity.",
    -1015: "Too many new orders; current limit is {}.",
    -1021: "Timestamp for this request is outside of the recvWindow.",
    -1022: "Signature for this request is not valid.",
    -1099: "Not found, unauthenticated, or unauthorized.",
    -1102: "Mandatory parameter '{}' was not sent, was empty/null, or malformed.",
    -1106: "Parameter '{}' sent when not required.",
    -1111: "Precision is over the maximum defined for this asset.",
    -1115: "Invalid timeInForce.",
    -1116: "Invalid orderType.",
    -1117: "Invalid side.",
    -1120: "Invalid interval.",
    -1121: "Invalid symbol.",
    -1125: "This listenKey does not exist.",
    -1128: "Combination of optional parameters invalid.",
    -2011: "Unknown order sent.",
    -2013: "Order does not exist.",
    -2014: "API-key format invalid.",
    -2015: "Invalid API-key, IP, or permissions for action.",
    -2019: "Margin is insufficient.",
    -2021: "Order would immediately trigger.",
    -2022: "ReduceOnly Order is rejected.",
    -2027: "Exceeded the maximum allowable position at current leverage.",
    -4003: "Quantity less than or equal to zero.",
    -4004: "Quantity less than min quantity.",
    -4005: "Quantity greater than max quantity.",
    -4014: "Price not increased by tick size.",
    -4015: "Client order id is not valid.",
    -4028: "Leverage {} is not valid",
    -4045: "Reach max stop order limit.",
    -4046: "No need to change margin type.",
    -4059: "No need to change position side.",
    -4061: "Order's position side does not match user's setting.",
    -4067: "Position side cannot be changed if there exists open orders.",
    -4068: "Position side cannot be changed if there exists position.",
    -4116: "ClientOrderId is duplicated.",
    -4120: "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead.",
    -4164: "Order's notional must be no smaller than {} (unless you choose reduce only).",
    -4509: "Time in Force (TIF) GTE can only be used with open positions. Please ensure that positions are available.",
    -5022: "Due to the order could not be executed as maker, the Post Only order will be rejected.",
}
# What the ledger refuses, for what this exchange has not refused in words of its own before.
_REFUSALS: Final = {
    "unknown_symbol": -1121,
    "quantity_step": -1111,
    "price_tick": -4014,
    "below_minimum": -4164,
    "insufficient_margin": -2019,
    "reduce_only": -2022,
    "would_trigger": -2021,
    "would_cross": -5022,
    "post_only": -5022,
    "duplicate_id": -4116,
    "too_many_stops": -4045,
    "expired": -1021,
    "unsupported_order": -1116,
    "unsupported_trigger": -1116,
}


class BinanceError(Exception):
    """A request that is answered by an error: `{"code": …, "msg": …}` with an HTTP status."""

    def __init__(self, code: int, *about: object, message: str | None = None, status: int | None = None) -> None:
        """`about` fills the holes in the code's usual words; `message` replaces them."""
        self.code = code
        self.message = message if message is not None else _WORDS.get(code, "Unknown error.").format(*about)
        self.status = status or _STATUS.get(code, 400)
        super().__init__(f"{code}: {self.message}")


def refused(error: VenueError, minimum_notional: object = "") -> BinanceError:
    """The code for what the ledger refused. What it could not decide is an unknown execution status, as at Binance."""
    code = _REFUSALS.get(error.code)
    if code is None:
        return BinanceError(-1007)
    return BinanceError(code, minimum_notional)
