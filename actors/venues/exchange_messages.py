"""What the streams of the exchange server say: prices to everybody, orders and money to whom they belong."""

from collections.abc import Iterator
from typing import Any, Final

from actors.domain.events import OrderState
from actors.domain.model import ZERO, Micros, OrderKind, Quote, Source
from actors.venues.exchange_desk import ExchangeDesk
from actors.venues.exchange_dialect import (
    STATUSES,
    WORKING_TYPES,
    Fill,
    Json,
    Told,
    milliseconds,
    text,
    type_of,
)
from actors.venues.exchange_journal import Event
from actors.venues.exchange_market import DEPTH, INTERVALS, PublicMarket, levels, next_funding
from actors.venues.exchange_settings import market_id
from actors.venues.paper_tables import OrderRow

_ENDED: Final = {OrderState.CANCELLED: "CANCELED", OrderState.EXPIRED: "EXPIRED", OrderState.REJECTED: "REJECTED"}


class MarketMessages:
    """What a market stream says of a symbol now."""

    def __init__(self, desk: ExchangeDesk, market: PublicMarket) -> None:
        self._desk = desk
        self._market = market
        # Of each symbol the price before the present one, and that one: an update of the book leads to the next.
        self._books: dict[str, tuple[Quote, Quote]] = {}

    def played(self, symbol: str, quote: Quote) -> None:
        """A price has been played: the next update of the book follows the one before it."""
        _, before = self._books.get(symbol, (quote, quote))
        self._books[symbol] = (before, quote)

    def say(self, symbol: str, kind: str) -> Json | None:
        """The message of one kind (`bookTicker`, `markPrice`, `kline_1m`, …); None for a kind there is not."""
        quote = self._desk.core.quote(symbol)
        if quote is None:
            return None
        now = self._desk.clock.now()
        name, _, interval = kind.partition("_")
        head = {"E": milliseconds(now), "T": milliseconds(quote.at), "s": market_id(symbol)}
        told: Json | None = None
        if name == "bookTicker":
            told = {"e": "bookTicker", "u": quote.at, **head, "b": text(quote.bid or ZERO), "B": DEPTH}
            told = {**told, "a": text(quote.ask or ZERO), "A": DEPTH}
        elif name == "markPrice":
            mark = text(quote.mark or ZERO)
            told = {"e": "markPriceUpdate", **head, "p": mark, "ap": mark, "i": mark, "P": mark, "r": "0.00000000"}
            told = {**told, "T": next_funding(now)}
        elif name in ("trade", "aggTrade"):
            told = {"e": name, **head, "t": quote.at, "a": quote.at, "f": quote.at, "l": quote.at}
            told = {**told, "p": text(quote.last or ZERO), "q": "1", "X": "MARKET", "m": False}
        elif name in ("ticker", "miniTicker"):
            told = self._day(symbol, quote, now, mini=name == "miniTicker")
        elif name == "kline" and interval in INTERVALS:
            told = self._kline(symbol, interval, now)
        elif name.startswith("depth"):
            told = self._depth(symbol, quote, head)
        return told

    def _day(self, symbol: str, quote: Quote, now: Micros, *, mini: bool) -> Json:
        day = self._market.day_json(symbol, quote, now)
        names = {
            "openPrice": "o",
            "highPrice": "h",
            "lowPrice": "l",
            "lastPrice": "c",
            "volume": "v",
            "quoteVolume": "q",
        }
        if not mini:
            names |= {
                "priceChange": "p",
                "priceChangePercent": "P",
                "weightedAvgPrice": "w",
                "lastQty": "Q",
                "openTime": "O",
                "closeTime": "C",
                "firstId": "F",
                "lastId": "L",
                "count": "n",
            }
        event = "24hrMiniTicker" if mini else "24hrTicker"
        told = {short: day[long] for long, short in names.items()}
        return {"e": event, "E": milliseconds(now), "s": market_id(symbol), **told}

    def _kline(self, symbol: str, interval: str, now: Micros) -> Json:
        minutes = INTERVALS[interval]
        candle = self._market.candles(symbol, minutes, now)[-1]
        opened = milliseconds(candle.at)
        prices = {"o": candle.open, "c": candle.close, "h": candle.high, "l": candle.low}
        k = {
            "t": opened,
            "T": opened + minutes * 60_000 - 1,
            "s": market_id(symbol),
            "i": interval,
            **{name: text(price) for name, price in prices.items()},
            **{"f": 0, "L": 0, "v": "1", "n": 1, "x": False, "q": "1", "V": "1", "Q": "1", "B": "0"},
        }
        return {"e": "kline", "E": milliseconds(now), "s": market_id(symbol), "k": k}

    def _depth(self, symbol: str, quote: Quote, head: Json) -> Json:
        """The whole book as an update: levels of the one before are taken away unless they are still there."""
        tick = self._desk.instrument(symbol).tick_size
        before, _ = self._books.get(symbol, (quote, quote))
        sides = []
        for old, new in zip(levels(before, tick), levels(quote, tick), strict=True):
            kept = {price for price, _ in new}
            sides.append([[price, "0"] for price, _ in old if price not in kept] + new)
        ids = {"U": before.at + 1, "u": quote.at, "pu": before.at}
        return {"e": "depthUpdate", **head, **ids, "b": sides[0], "a": sides[1]}


class UserMessages:
    """What an account's stream says of one line of the journal's history."""

    def __init__(self, desk: ExchangeDesk) -> None:
        self._desk = desk

    def of(self, event: Event) -> Iterator[tuple[str, Json]]:
        """(account, message) of each thing to be told."""
        row = self._desk.core.tables.order(event.order_id)
        if row.kind is OrderKind.STOP_MARKET:
            yield from ((row.account, self._algo(row, status, event.at)) for status in self._algo_statuses(row, event))
            return
        told = self._desk.reading.told(row)
        if event.event == "new":
            yield row.account, self._order(told, "NEW", "NEW", event.at)
        elif event.event == "trade" and event.trade_id is not None:
            fill = self._desk.reading.trade(event.trade_id)
            filled = sum((one.quantity for one in told.fills if one.trade_id <= fill.trade_id), ZERO)
            status = "FILLED" if filled == row.quantity else "PARTIALLY_FILLED"
            yield row.account, self.account(row.account, event.at, "ORDER", row.symbol)
            yield row.account, self._order(told, "TRADE", status, event.at, fill)
        elif row.state in _ENDED:
            yield row.account, self._order(told, _ENDED[row.state], _ENDED[row.state], event.at)
        if event.event == "changed" and row.state is not OrderState.OPEN:
            yield from self._parent(row, event)

    def account(self, account: str, at: Micros, reason: str, symbol: str | None = None) -> Json:
        """Money and positions: of one symbol, or none at all."""
        state = self._desk.core.state(account)
        held = {holding.symbol: holding for holding in state.holdings}
        positions: list[Json] = []
        if symbol is not None:
            holding = held.get(symbol)
            positions.append(
                {
                    "s": market_id(symbol),
                    "pa": text(holding.quantity) if holding else "0",
                    "ep": text(holding.entry_price) if holding else "0",
                    "bep": text(holding.entry_price) if holding else "0",
                    "cr": "0",
                    "up": text(holding.unrealized) if holding else "0",
                    "mt": "cross",
                    "iw": "0",
                    "ps": "BOTH",
                }
            )
        wallet = text(state.wallet.balance)
        content = {"m": reason, "B": [{"a": "USDT", "wb": wallet, "cw": wallet, "bc": "0"}], "P": positions}
        return {"e": "ACCOUNT_UPDATE", "E": self._now(), "T": milliseconds(at), "a": content}

    def expired(self, key: str) -> Json:
        """A listen key is good no more."""
        return {"e": "listenKeyExpired", "E": self._now(), "listenKey": key}

    def _now(self) -> int:
        return milliseconds(self._desk.clock.now())

    def _algo_statuses(self, row: OrderRow, event: Event) -> list[str]:
        if event.event == "new":
            return ["NEW"]
        algo = self._desk.journal.algo(row.id)
        if not algo.child_id:
            return [STATUSES[row.state]]
        child = self._desk.core.tables.order(algo.child_id)
        finished = child.state is not OrderState.OPEN
        return ["TRIGGERING", "TRIGGERED", "FINISHED"] if finished else ["TRIGGERING", "TRIGGERED"]

    def _parent(self, child: OrderRow, event: Event) -> Iterator[tuple[str, Json]]:
        """A conditional order whose plain one ends later than the price that triggered it has finished only then."""
        number = self._desk.journal.parent(child.id)
        if number and event.at > self._desk.core.tables.order(number).updated_at:
            row = self._desk.core.tables.order(number)
            yield row.account, self._algo(row, "FINISHED", event.at)

    def _order(self, told: Told, execution: str, status: str, at: Micros, fill: Fill | None = None) -> Json:
        row = told.row
        filled = [one for one in told.fills if fill is None or one.trade_id <= fill.trade_id]
        quantity = sum((one.quantity for one in filled), ZERO) if execution != "NEW" else ZERO
        cost = sum((one.quantity * one.price for one in filled), ZERO)
        order: dict[str, Any] = {
            "s": market_id(row.symbol),
            "c": row.client_order_id,
            "S": row.side.value.upper(),
            "o": type_of(row),
            "f": told.time_in_force,
            "q": text(row.quantity),
            "p": text(row.limit_price or ZERO),
            "ap": text(cost / quantity if quantity else ZERO),
            "sp": "0",
            # What the exchange does to an account in ruin is told as calculated, not as traded.
            "x": "CALCULATED" if execution == "TRADE" and type_of(row) == "LIQUIDATION" else execution,
            "X": status,
            "i": row.id,
            "l": text(fill.quantity) if fill else "0",
            "z": text(quantity),
            "L": text(fill.price) if fill else "0",
            "n": text(fill.fee) if fill else "0",
            "N": "USDT",
            "T": milliseconds(at),
            "t": fill.trade_id if fill else 0,
            "b": "0",
            "a": "0",
            "m": fill.maker if fill else False,
            "R": row.reduce_only,
            "wt": "CONTRACT_PRICE",
            "ot": type_of(row),
            "ps": "BOTH",
            "cp": False,
            "rp": text(fill.realized) if fill else "0",
            "pP": False,
            "si": 0,
            "ss": 0,
            "V": "EXPIRE_MAKER",
            "pm": "NONE",
            "gtd": 0,
        }
        return {"e": "ORDER_TRADE_UPDATE", "E": self._now(), "T": milliseconds(at), "o": order}

    def _algo(self, row: OrderRow, status: str, at: Micros) -> Json:
        algo = self._desk.journal.algo(row.id)
        known = algo.child_id and status in ("TRIGGERED", "FINISHED")
        child = self._desk.reading.told(self._desk.core.tables.order(algo.child_id)) if known else None
        order: dict[str, Any] = {
            "caid": row.client_order_id,
            "aid": row.id,
            "at": "CONDITIONAL",
            "o": algo.type,
            "s": market_id(row.symbol),
            "S": row.side.value.upper(),
            "ps": "BOTH",
            "f": "GTE_GTC" if algo.close_position else "GTC",
            "q": "0" if algo.close_position else text(row.quantity),
            "X": status,
            "ai": str(child.row.id) if child else "",
            "ap": text(child.average) if child else "0",
            "aq": text(child.row.filled) if child else "0",
            "act": "MARKET" if child else "0",
            "tp": text(row.trigger_price or ZERO),
            "p": "0",
            "V": "EXPIRE_MAKER",
            "wt": WORKING_TYPES[row.trigger_source or Source.MARK],
            "pm": "NONE",
            "cp": algo.close_position,
            "pP": False,
            "R": row.reduce_only,
            "tt": milliseconds(algo.triggered_at),
            "gtd": 0,
            "rm": "Reduce Only reject" if status == "REJECTED" else "",
        }
        return {"e": "ALGO_UPDATE", "T": milliseconds(at), "E": self._now(), "o": order}
