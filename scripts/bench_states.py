"""Positions as they really are: made by the rules themselves, then multiplied under other ids.

One position is opened (and, for a runner, driven past both targets) through the rules with an obedient venue; its state
is the template. A copy differs in its id, account, symbol and order ids, as real ones do.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from actors.domain.model import Instrument, Position
from actors.domain.plans import RUNNER
from actors.domain.schema import SCHEMA, dump, load
from actors.domain.step import client_order_id
from tests.unit.driver import START, Desk, command

ORDER_TAG = "0be2c4e5"
PRICE = Decimal(60_000)
QUANTITY = Decimal("0.1")
START_AT = START


def instrument(symbol: str) -> Instrument:
    """What the exchange allows: a tick of 0.1, a step of 0.001, a taker fee of 0.05 percent."""
    return Instrument(
        symbol=symbol,
        tick_size=Decimal("0.1"),
        quantity_step=Decimal("0.001"),
        minimum_quantity=Decimal("0.001"),
        minimum_notional=Decimal(5),
        taker_fee_percent=Decimal("0.05"),
    )


def open_position(plan: Mapping[str, Any] = RUNNER, price: Decimal = PRICE) -> Position:
    """A long with the plan `runner`: entry filled, its stop read back at the exchange."""
    return _desk(plan, price).position


def trailing_position(price: Decimal = PRICE) -> Position:
    """The same past both targets: 40 percent left, the trail armed, its stop at rest behind the peak."""
    desk = _desk(RUNNER, price)
    desk.price(price * Decimal("1.0101"))
    desk.price(price * Decimal("1.0201"))
    # The stop at rest may move again: its interval is over, and nothing of it is due.
    desk.price(price * Decimal("1.0202"), seconds=10)
    desk.price(price * Decimal("1.0202"), seconds=10)
    return desk.position


def _desk(plan: Mapping[str, Any], price: Decimal) -> Desk:
    opening = command(
        plan, "long", price, quantity=QUANTITY, instrument=instrument("BTC/USDT:USDT"), order_tag=ORDER_TAG
    )
    return Desk.start(opening, fee_percent="0.05")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Where one copy lives."""

    number: int
    position_id: str
    account: str
    symbol: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How many positions, on how many symbols and shards; one managed position in each (account, symbol)."""

    positions: int
    symbols: int
    shards: int

    @property
    def accounts(self) -> int:
        """As many as are needed to give each position a slot."""
        return -(-self.positions // self.symbols)

    def account_names(self) -> list[str]:
        """Every account, in order."""
        return [f"a{number:05}" for number in range(self.accounts)]

    def symbol_names(self) -> list[str]:
        """Every symbol, in order."""
        return [f"C{number:03}/USDT:USDT" for number in range(self.symbols)]

    def shard_of(self, account: str) -> str:
        """The accounts take turns."""
        return f"s{int(account[1:]) % self.shards:02}"

    def slots(self) -> Iterator[Slot]:
        """Every position's place, account by account."""
        symbols = self.symbol_names()
        for number in range(self.positions):
            account = f"a{number // self.symbols:05}"
            yield Slot(
                number=number, position_id=f"p{number:06}", account=account, symbol=symbols[number % self.symbols]
            )

    def said(self) -> str:
        """In words."""
        return (
            f"{self.positions:,} positions = {self.accounts:,} accounts × {self.symbols:,} symbols, "
            f"over {self.shards} shards"
        )


class Copies:
    """Copies of one template, as states and as positions."""

    def __init__(self, template: Position) -> None:
        """The template's own id, account and symbol do not matter."""
        self.template = template
        self._state = dump(template)
        # The order of a fill or intent, by leg and generation, is what its id is made of.
        self._orders = {intent.client_order_id: (intent.leg, intent.generation) for intent in template.intents}

    def state(self, slot: Slot, *, first_trade: int = 1) -> dict[str, Any]:
        """The copy of one slot as it is stored. Its fills have the trade ids from `first_trade` on."""
        ids = {
            old: client_order_id(ORDER_TAG, slot.position_id, leg, generation)
            for old, (leg, generation) in self._orders.items()
        }
        state = {**self._state, "id": slot.position_id, "account": slot.account, "symbol": slot.symbol}
        state["instrument"] = {**state["instrument"], "symbol": slot.symbol}
        state["intents"] = [
            {**intent, "client_order_id": ids[intent["client_order_id"]]} for intent in state["intents"]
        ]
        state["fills"] = [
            {**fill, "client_order_id": ids[fill["client_order_id"]], "trade_id": str(first_trade + number)}
            for number, fill in enumerate(state["fills"])
        ]
        return state

    def position(self, slot: Slot, *, first_trade: int = 1) -> Position:
        """The copy of one slot as the rules see it."""
        return load(self.state(slot, first_trade=first_trade), SCHEMA)


def with_stop_at(position: Position, percent: Decimal) -> Position:
    """A copy of the position whose trail is a little wider or narrower than the others'."""
    if position.trail is None:
        return position
    return replace(position, trail=replace(position.trail, value=percent))
