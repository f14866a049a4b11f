"""The words of the domain that are one of a few: their values are what is stored and shown."""

from enum import StrEnum


class Side(StrEnum):
    """The direction of a position."""

    LONG = "long"
    SHORT = "short"

    @property
    def sign(self) -> int:
        """+1 for a long, -1 for a short: 'better' means sign·a > sign·b."""
        return 1 if self is Side.LONG else -1


class OrderSide(StrEnum):
    """The direction of an order."""

    BUY = "buy"
    SELL = "sell"


class Phase(StrEnum):
    """Where a position is in its life."""

    OPENING = "opening"
    OPEN = "open"
    RUNNER = "runner"
    CLOSING = "closing"
    CLOSED = "closed"
    QUARANTINED = "quarantined"


class Source(StrEnum):
    """Which price of the market triggers."""

    MARK = "mark"
    LAST = "last"
    BID_ASK = "bid_ask"


class Reason(StrEnum):
    """Why a quantity was bought or sold."""

    ENTRY = "entry"
    TAKE_PROFIT = "take_profit"
    STOP_LOSS = "stop_loss"
    BREAKEVEN = "breakeven"
    TARGET_STOP = "target_stop"
    TRAILING_STOP = "trailing_stop"
    TIME_LIMIT = "time_limit"
    MANUAL = "manual"
    EXTERNAL = "external"
    LIQUIDATED = "liquidated"
    ADL = "adl"


class IntentStatus(StrEnum):
    """What is known of one intent.

    `planned` is decided and waits (owed); `sent` may have left, or may leave as soon as it is durable; `resting` was
    read back at the venue; `unknown` may or may not have been executed. The other three are terminal.
    """

    PLANNED = "planned"
    SENT = "sent"
    RESTING = "resting"
    UNKNOWN = "unknown"
    FILLED = "filled"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"

    @property
    def terminal(self) -> bool:
        """Nothing more can happen to the order."""
        return self in (IntentStatus.FILLED, IntentStatus.REFUSED, IntentStatus.WITHDRAWN)


class OrderKind(StrEnum):
    """How an order executes. A stop_market order is of the venue's trigger class, the others are plain."""

    MARKET = "market"
    STOP_MARKET = "stop_market"
    LIMIT = "limit"


class LevelKind(StrEnum):
    """How a level is given; see the plan schema."""

    PERCENT = "percent"
    PRICE = "price"
    ATR = "atr"
    R = "r"
    BREAKEVEN = "breakeven"
    TARGET = "target"


class DistanceKind(StrEnum):
    """How a trailing distance is given."""

    PERCENT = "percent"
    PRICE = "price"
    ATR = "atr"
