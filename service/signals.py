"""TradingView's signals: what a body means, whole and exact, or every fault of it. Pure.

The strategy's own words (`buy` with `market_position: "short"`) are not always an entry or an exit. What reduces is
refused, because the plan's targets do that, and a part that is taken for the whole is a position closed by mistake.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_UP, Context, Decimal
from typing import Any, Final, Literal

from actors.domain.model import Plan, Side
from service.api_positions import read_plan
from service.decimals import plain
from service.http_answers import ApiError
from service.http_body import Fields

ACTIONS: Final = ("enter_long", "enter_short", "exit_long", "exit_short", "close", "buy", "sell")
FIELDS: Final = (
    *("secret", "action", "symbol", "quantity", "market_position", "price", "plan", "account", "signal_id"),
    *("timestamp", "max_lag", "on_opposite"),
)
DEFAULT_LAG_SECONDS: Final = 60
LONGEST_LAG_SECONDS: Final = 86_400
Opposite = Literal["refuse", "close", "reverse"]
# What an order of the strategy means by where it leaves the strategy.
_MEANING: Final[Mapping[tuple[str, str], str]] = {
    ("buy", "long"): "enter_long",
    ("sell", "short"): "enter_short",
    ("buy", "flat"): "exit_short",
    ("sell", "flat"): "exit_long",
}
_SIDES: Final[Mapping[str, Side | None]] = {"long": Side.LONG, "short": Side.SHORT, "close": None}
# Rounded up at so many digits, a share of a quantity is still floored to that quantity, never to a step less.
_SHARE: Final = Context(prec=40, rounding=ROUND_UP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One signal. `side` is the one to enter or to exit, None to exit whatever is there; `plan` is set for entries.

    `key` stands for the signal: of two with the same key one acts. `digest` stands for all that it asks for.
    """

    enters: bool
    side: Side | None
    symbol: str
    account: str
    quantity: Decimal | None
    plan: Plan | None
    on_opposite: Opposite
    key: str
    digest: str
    signal_id: str
    tags: Mapping[str, str] = field(default_factory=dict)


def check_secret(body: Mapping[str, Any], secret: str | None) -> None:
    """Raises ApiError unless the body names the secret. Compared in constant time, and never repeated."""
    if secret is None:
        message = "webhooks are off; set EXITKEEPER_WEBHOOKS__SECRET and start the service again"
        raise ApiError(403, "webhooks_off", message)
    given = body.get("secret")
    text = given if isinstance(given, str) else ""
    if not hmac.compare_digest(text.encode(), secret.encode()):
        message = "the secret is wrong or missing; it is EXITKEEPER_WEBHOOKS__SECRET, and belongs into the body"
        raise ApiError(401, "unauthorized", message, field="secret")


def read_signal(body: dict[str, Any], *, plans: Mapping[str, Plan], accounts: Mapping[str, bool], now: int) -> Signal:
    """What a body asks for. `accounts` says of each whether it trades real money; `now` is in microseconds.

    Raises ApiError with every fault.
    """
    fields = Fields(body, FIELDS)
    meaning = _meaning(fields)
    enters = meaning.startswith("enter")
    account = _account(fields, accounts)
    _check_lag(fields, live=accounts.get(account, False), now=now)
    symbol = fields.text("symbol", required=True) or ""
    quantity = fields.decimal("quantity", required=enters)
    price = fields.decimal("price")
    body["plan"] = exact_strings(body.get("plan"))
    plan = read_plan(fields, plans)
    opposite = fields.choice("on_opposite", ("refuse", "close", "reverse"))
    signal_id = _signal_id(fields)
    fields.finish()
    asked = {"action": meaning, "symbol": symbol, "quantity": quantity, "plan": body["plan"] or "runner"}
    tags = {"source": "tradingview", **({"signal_id": signal_id} if signal_id else {})}
    return Signal(
        enters=enters,
        side=_SIDES[meaning.rpartition("_")[2]],
        symbol=symbol,
        account=account,
        quantity=quantity,
        plan=plan if enters else None,
        on_opposite=_opposite(opposite),
        key=_key(account, signal_id, body),
        digest=_hash({**asked, "account": account, "on_opposite": opposite}),
        signal_id=signal_id,
        tags=tags if price is None else {**tags, "price": plain(price)},
    )


def share_of(quantity: Decimal | None, remaining: Decimal) -> Decimal:
    """The fraction of what remains that an exit asks for; all of it without a quantity, or with too large a one."""
    if quantity is None or quantity >= remaining:
        return Decimal(1)
    return _SHARE.divide(quantity, remaining)


def exact_strings(value: Any) -> Any:
    """The same tree with its exact numbers as strings, as plans are written."""
    if isinstance(value, Decimal):
        finite = value.is_finite() and abs(value.adjusted()) <= 40
        return plain(value) if finite else str(value)
    if isinstance(value, dict):
        return {key: exact_strings(item) for key, item in value.items()}
    if isinstance(value, list):
        return [exact_strings(item) for item in value]
    return value


def _meaning(fields: Fields) -> str:
    """enter_long, enter_short, exit_long, exit_short or close."""
    action = fields.choice("action", ACTIONS, required=True)
    market = fields.choice("market_position", ("long", "short", "flat"))
    if action in ("buy", "sell"):
        if market is None:
            message = f"{action} alone does not say whether it enters or exits; send market_position too"
            fields.fault("missing", "market_position", message)
        elif (action, market) not in _MEANING:
            message = f"{action} that leaves the strategy {market} only reduces; the plan's targets do that here"
            fields.fault("partial_exit", "action", f"{message}, or send exit_{market} with a quantity")
        return _MEANING.get((action, market or ""), "close")
    if action in ("enter_long", "enter_short") and market not in (None, action.removeprefix("enter_")):
        fields.fault("contradiction", "market_position", f"{action} does not leave the strategy {market}; correct one")
    return action or "close"


def _account(fields: Fields, accounts: Mapping[str, bool]) -> str:
    """The account meant: with one account it need not be named."""
    account = fields.text("account")
    if account is None and fields.body.get("account") is None:
        if len(accounts) == 1:
            return next(iter(accounts))
        fields.fault("missing", "account", f"account is missing; there are: {', '.join(sorted(accounts))}")
    return account or ""


def _check_lag(fields: Fields, *, live: bool, now: int) -> None:
    lag = fields.decimal("max_lag")
    if lag is not None and lag > LONGEST_LAG_SECONDS:
        fields.fault("too_large", "max_lag", f"max_lag is in seconds, at most {LONGEST_LAG_SECONDS}")
        return
    most = Decimal(DEFAULT_LAG_SECONDS) if lag is None else lag
    value = fields.body.get("timestamp")
    if value is None:
        if live:
            message = 'a live account requires timestamp, so that nothing late acts; send "{{timenow}}"'
            fields.fault("missing", "timestamp", message)
        return
    at = _moment(value)
    if at is None:
        message = 'timestamp must be RFC 3339 with its zone, such as "2026-01-31T12:00:00Z", or seconds since 1970'
        fields.fault("not_a_time", "timestamp", message)
        return
    behind = Decimal(now - at) / 1_000_000
    if behind > most:
        message = f"the signal is {behind:.1f} s old, and at most {most:f} s are allowed (max_lag); nothing was done"
        fields.fault("too_late", "timestamp", message)
    elif -behind > most:
        message = f"the signal is from {-behind:.1f} s in the future; set the clocks right"
        fields.fault("from_the_future", "timestamp", message)


def _moment(value: object) -> int | None:
    """Microseconds since 1970 of RFC 3339 text, or of seconds or milliseconds since then."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            return None
        if found.tzinfo is None:
            return None
        since = found - datetime(1970, 1, 1, tzinfo=UTC)
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    if isinstance(value, Decimal) and not value.is_finite():
        # What is no number cannot even be compared.
        return None
    if isinstance(value, int | Decimal) and 0 <= value < 10**14:
        # In seconds this many are the year 5138, in milliseconds 1973.
        scale = 1_000 if value >= 10**11 else 1_000_000
        return int(value * scale)
    return None


def _signal_id(fields: Fields) -> str:
    value = fields.body.get("signal_id")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**20:
        return str(value)
    return fields.text("signal_id", most=128) or ""


def _opposite(value: str | None) -> Opposite:
    if value == "close":
        return "close"
    return "reverse" if value == "reverse" else "refuse"


def _key(account: str, signal_id: str, body: Mapping[str, Any]) -> str:
    """What a signal is known by: its own id, or the hash of its body, the secret left out."""
    said: object = {key: value for key, value in body.items() if key != "secret"}
    return "tv-" + _hash({"account": account, "signal": signal_id or said})


def _hash(values: Mapping[str, Any]) -> str:
    # Unlike orjson it writes whole numbers of any size.
    canonical = json.dumps(values, default=_text, sort_keys=True)
    return hashlib.blake2b(canonical.encode(), digest_size=12).hexdigest()


def _text(value: object) -> str:
    return plain(value) if isinstance(value, Decimal) else str(value)
