"""The shapes of the API, for its description at /openapi.json: what is sent and what is answered.

They describe, and do not validate: the readers in http_body.py do, because they refuse floats and name every fault.
A test holds them and the views together.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

DECIMAL = r"^[+-]?[0-9]{1,20}(\.[0-9]{1,20})?$"


def _decimal(description: str) -> Any:
    return Field(pattern=r"^-?[0-9]+(\.[0-9]+)?$", description=description, examples=["60123.5"])


class Sent(BaseModel):
    """A body that is sent; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class OpenBody(Sent):
    """Open a position, or adopt one that is already on the venue."""

    id: str | None = Field(
        None, pattern="^[A-Za-z0-9_-]{1,64}$", description="Makes a repeat harmless; made up if absent"
    )
    account: str = Field(max_length=64)
    symbol: str = Field(max_length=64, examples=["BTC/USDT:USDT"])
    side: Literal["long", "short"] | None = Field(None, description="Required unless `adopt`")
    quantity: str | None = Field(
        None, pattern=DECIMAL, description="In units of the base asset; required unless `adopt`", examples=["0.01"]
    )
    plan: str | dict[str, Any] = Field(
        "runner",
        description="The name of a plan, or a plan",
        examples=["runner", {"stop": {"percent": "1.5"}, "trail": {"percent": "0.8"}}],
    )
    adopt: bool = False
    foreign_orders: Literal["keep", "cancel"] | None = Field(None, description="Only with `adopt`")
    act_now: bool = Field(False, description="Allow what acts at once, because the price is already past it")
    tags: dict[str, str] = Field(default_factory=dict, description="At most 16, of 64 and 256 characters")


class CloseBody(Sent):
    """Close a fraction of what remains."""

    fraction: str = Field("1", pattern=DECIMAL, description="Above 0, at most 1")
    request_id: str | None = Field(None, pattern="^[A-Za-z0-9_-]{1,64}$", description="Required below 1")


class PlanBody(BaseModel):
    """A plan; targets that have a number keep it."""

    stop: dict[str, Any] = Field(examples=[{"percent": "1.5"}])
    trail: dict[str, Any] | None = Field(None, examples=[{"percent": "0.8"}])
    targets: list[dict[str, Any]] = Field(default_factory=list, max_length=10)
    time_limit_seconds: str | None = None
    trigger_by: dict[str, str] | None = None
    max_slippage_percent: str = "0.2"
    atr: str | None = None
    allow_looser_stop: bool = False
    act_now: bool = False


class WebhookBody(Sent):
    """A TradingView alert. Numbers are read as exact decimals, whether they are strings or not."""

    secret: str = Field(description="EXITKEEPER_WEBHOOKS__SECRET")
    action: Literal["enter_long", "enter_short", "exit_long", "exit_short", "close", "buy", "sell"]
    symbol: str = Field(max_length=64, examples=["BINANCE:BTCUSDT.P", "BTC/USDT:USDT"])
    quantity: str | float | None = Field(None, description="Required to enter; of an exit, how much to close at most")
    market_position: Literal["long", "short", "flat"] | None = Field(None, description="Required with buy and sell")
    price: str | float | None = Field(None, description="Only recorded")
    plan: str | dict[str, Any] | None = Field("runner", description="The name of a plan, or a plan")
    account: str | None = Field(None, max_length=64, description="Needed where there are several")
    signal_id: str | int | None = Field(None, description="Of two with the same one acts; without it the same body")
    timestamp: str | float | None = Field(
        None, description="RFC 3339, or seconds since 1970; required for live accounts"
    )
    max_lag: str | float | None = Field(None, description="How many seconds old a signal may be; 60 if absent")
    on_opposite: Literal["refuse", "close", "reverse"] | None = Field(
        None, description="What an entry does when the other side is held: refuse (default), close it, or reverse"
    )


class TargetView(BaseModel):
    """One target."""

    number: int
    price: str | None = _decimal("Null until something is filled")
    quantity: str | None
    order: str
    hit: bool
    filled: str = _decimal("What its orders closed")


class ExcursionView(BaseModel):
    """An extreme since entry; the percent is a magnitude."""

    price: str
    percent: str
    at: str


class FillView(BaseModel):
    """One trade of the venue."""

    leg: str
    reason: str
    price: str
    quantity: str
    fee: str
    at: str


class ResidentView(BaseModel):
    """The protective order at rest on the exchange."""

    leg: str
    price: str | None
    quantity: str
    status: str


class PendingView(BaseModel):
    """An order whose outcome is not final."""

    leg: str
    quantity: str
    status: str
    client_order_id: str


class PositionView(BaseModel):
    """One position, as saved. Of one that cannot be read, all but the first few fields are null."""

    id: str
    account: str
    symbol: str | None
    side: Literal["long", "short"] | None
    phase: Literal["opening", "open", "runner", "closing", "closed", "quarantined"]
    quantity: str | None = _decimal("The original quantity")
    remaining: str | None
    entry_price: str | None
    initial_stop_price: str | None
    stop_price: str | None
    stop_reason: str | None
    targets: list[TargetView] | None
    tp1_hit: bool | None
    tp2_hit: bool | None
    trailing_stop_active: bool | None
    peak_price: str | None
    mae: ExcursionView | None
    mfe: ExcursionView | None
    realized_pnl: str | None = _decimal("Gross")
    fees: str | None
    funding: str | None
    net_pnl: str | None
    unrealized_pnl: str | None
    fills: list[FillView] | None
    protected: bool | None
    resident_stop: ResidentView | None
    pending: list[PendingView] | None
    dust: str | None
    last_price: str | None
    version: int
    epoch: int
    opened_at: str | None
    updated_at: str | None
    closed_at: str | None
    close_reason: str | None
    plan: dict[str, Any] | None
    plan_revision: int | None
    tags: dict[str, str] | None


class PositionsAnswer(BaseModel):
    """A page of positions; `next` is the cursor of the following page, null on the last."""

    positions: list[PositionView]
    next: str | None


class EventsAnswer(BaseModel):
    """The audit trail, oldest first."""

    events: list[dict[str, Any]]


class CloseAnswer(BaseModel):
    """The close is decided and durable."""

    leg: str
    request_id: str | None
    quantity: str


class WebhookAnswer(BaseModel):
    """What became of a signal, and the position it concerns."""

    result: Literal["opened", "closing", "repeated", "nothing_to_do"]
    leg: str | None = Field(description="The closing leg, where the signal closes")
    position: PositionView | None


class FeedView(BaseModel):
    """The latest prices of one symbol."""

    symbol: str
    fresh: bool
    settled: bool
    mark: str | None
    last: str | None
    bid: str | None
    ask: str | None
    updated_at: str | None


class AccountView(BaseModel):
    """One account with its lease and feeds."""

    account: str
    venue: str
    shard: str
    live_money: bool
    epoch: int
    lease_held: bool
    reconciled: bool
    detail: str
    feeds: list[FeedView]


class AccountsAnswer(BaseModel):
    """Every account."""

    accounts: list[AccountView]


class HealthAnswer(BaseModel):
    """Every actor's health, worst first."""

    ready: bool
    reasons: list[str]
    draining: bool
    store_reachable: bool
    at: str | None
    quarantined: list[dict[str, str]]
    actors: list[dict[str, Any]]


class LivenessAnswer(BaseModel):
    """Whether the dispatcher turns."""

    alive: bool


class ReadinessAnswer(BaseModel):
    """Whether the service is ready, and why not."""

    ready: bool
    reasons: list[str]


class ErrorBody(BaseModel):
    """What is wrong, and what to do next."""

    code: str
    message: str
    field: str | None = Field(None, description="Left out where no single field is meant")


class ErrorAnswer(BaseModel):
    """Every error has this shape; `faults` is there when several things are wrong."""

    error: ErrorBody
    faults: list[ErrorBody] = Field(default_factory=list)


SENT = (OpenBody, CloseBody, PlanBody, WebhookBody)


def body_of(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """The part of an endpoint's description that names its body."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The part of an endpoint's description that names its errors."""
    return {status: {"model": ErrorAnswer} for status in sorted({*statuses, 401, 403})}
