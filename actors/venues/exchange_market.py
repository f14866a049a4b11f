"""Binance's public endpoints: what can be traded, and its prices.

All times are the wall's. Candles are made of the prices that were told, by minutes of the wall; a minute without a
price is flat, as the market was.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from actors.domain.model import HUNDRED, ZERO, Micros, Quote
from actors.venues.base import Candle
from actors.venues.exchange_desk import ExchangeDesk
from actors.venues.exchange_dialect import Json, instrument_json, milliseconds, text
from actors.venues.exchange_errors import BinanceError
from actors.venues.exchange_requests import Endpoint, Request, Routes
from actors.venues.exchange_settings import market_id
from actors.venues.paper_candles import MINUTE, read_candles

DEPTH: Final = "100.000"
LEVELS: Final = 5
_EIGHT_HOURS: Final = 8 * 60 * MINUTE
_DAY_MINUTES: Final = 24 * 60
INTERVALS: Final[Mapping[str, int]] = {
    "1m": 1,
    "3m": 3,
    "5m": 5,
    "15m": 15,
    "30m": 30,
    "1h": 60,
    "2h": 120,
    "4h": 240,
    "6h": 360,
    "8h": 480,
    "12h": 720,
    "1d": _DAY_MINUTES,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What a symbol's last 24 hours were."""

    first: Candle
    high: Decimal
    low: Decimal
    last: Decimal


class PublicMarket:
    """Everything that needs no key."""

    def __init__(self, desk: ExchangeDesk) -> None:
        self._desk = desk

    def routes(self) -> Routes:
        """Path and method of each."""
        reads = {
            "/fapi/v1/ping": (self.ping, 1),
            "/fapi/v1/time": (self.time, 1),
            "/fapi/v1/exchangeInfo": (self.exchange_info, 1),
            "/fapi/v1/depth": (self.depth, 5),
            "/fapi/v1/trades": (self.trades, 5),
            "/fapi/v1/aggTrades": (self.trades, 20),
            "/fapi/v1/klines": (self.klines, 2),
            "/fapi/v1/markPriceKlines": (self.klines, 2),
            "/fapi/v1/indexPriceKlines": (self.klines, 2),
            "/fapi/v1/ticker/bookTicker": (self.book_ticker, 2),
            "/fapi/v1/ticker/price": (self.price, 1),
            "/fapi/v2/ticker/price": (self.price, 1),
            "/fapi/v1/ticker/24hr": (self.day_ticker, 1),
            "/fapi/v1/premiumIndex": (self.premium_index, 1),
            "/fapi/v1/fundingInfo": (self.nothing, 1),
            "/fapi/v1/fundingRate": (self.nothing, 1),
        }
        return {("GET", path): Endpoint(handle=handle, weight=weight) for path, (handle, weight) in reads.items()}

    # -- the exchange --------------------------------------------------------------------------------------------------

    def ping(self, request: Request) -> Json:
        """`GET ping`."""
        del request
        return {}

    def time(self, request: Request) -> Json:
        """`GET time`."""
        return {"serverTime": milliseconds(request.now)}

    def nothing(self, request: Request) -> Sequence[Json]:
        """No funding rates are published here."""
        del request
        return []

    def exchange_info(self, request: Request) -> Json:
        """`GET exchangeInfo`."""
        rates = self._desk.settings.rates
        kinds = (
            ("REQUEST_WEIGHT", "MINUTE", 1, rates.weight_per_minute),
            ("ORDERS", "SECOND", 10, rates.orders_per_ten_seconds),
            ("ORDERS", "MINUTE", 1, rates.orders_per_minute),
        )
        return {
            "timezone": "UTC",
            "serverTime": milliseconds(request.now),
            "futuresType": "U_MARGINED",
            "rateLimits": [
                {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}
                for kind, interval, number, limit in kinds
            ],
            "exchangeFilters": [],
            "assets": [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "0"}],
            "symbols": [
                instrument_json(instrument, self._desk.settings.maximum_quantity)
                for instrument in self._desk.core.instruments.values()
            ],
        }

    # -- prices --------------------------------------------------------------------------------------------------------

    def depth(self, request: Request) -> Json:
        """`GET depth`: five levels on each side."""
        symbol = self._desk.symbol(request)
        quote = self._desk.quote(symbol)
        bids, asks = levels(quote, self._desk.instrument(symbol).tick_size)
        at = milliseconds(request.now)
        return {"lastUpdateId": quote.at, "E": at, "T": milliseconds(quote.at), "bids": bids, "asks": asks}

    def trades(self, request: Request) -> Sequence[Json]:
        """`GET trades` and `aggTrades`: the latest price as the latest trade."""
        quote = self._desk.quote(self._desk.symbol(request))
        last, at = text(quote.last or ZERO), milliseconds(quote.at)
        both = {"qty": "1", "quoteQty": last, "price": last, "id": quote.at, "time": at, "isBuyerMaker": False}
        return [{**both, "a": quote.at, "p": last, "q": "1", "f": quote.at, "l": quote.at, "T": at, "m": False}]

    def klines(self, request: Request) -> Sequence[Sequence[Any]]:
        """`GET klines` and its kin: one series, the last minute still forming."""
        name = request.parameters.get("symbol") or request.text("pair")
        minutes = INTERVALS.get(request.text("interval"))
        if minutes is None:
            raise BinanceError(-1120)
        start, end = request.time("startTime"), request.time("endTime")
        limit = request.limit(500, 1500)
        candles = self.candles(self._desk.symbol_of(name), minutes, request.now)
        wanted = [
            candle for candle in candles if (start is None or candle.at >= start) and (end is None or candle.at <= end)
        ]
        kept = wanted[-limit:] if start is None else wanted[:limit]
        return [kline(candle, minutes) for candle in kept]

    def book_ticker(self, request: Request) -> Any:
        """`GET ticker/bookTicker`."""
        return self._each(request, lambda symbol, quote: {**book(symbol, quote), "time": milliseconds(quote.at)})

    def price(self, request: Request) -> Any:
        """`GET ticker/price`."""

        def told(symbol: str, quote: Quote) -> Json:
            return {
                "symbol": market_id(symbol),
                "price": text(quote.last or ZERO),
                "time": milliseconds(quote.at),
            }

        return self._each(request, told)

    def premium_index(self, request: Request) -> Any:
        """`GET premiumIndex`."""

        def told(symbol: str, quote: Quote) -> Json:
            mark = text(quote.mark or ZERO)
            return {
                "symbol": market_id(symbol),
                "markPrice": mark,
                "indexPrice": mark,
                "estimatedSettlePrice": mark,
                "lastFundingRate": "0.00000000",
                "interestRate": "0.00010000",
                "nextFundingTime": next_funding(request.now),
                "time": milliseconds(request.now),
            }

        return self._each(request, told)

    def day_ticker(self, request: Request) -> Any:
        """`GET ticker/24hr`."""
        return self._each(request, lambda symbol, quote: self.day_json(symbol, quote, request.now))

    def day_json(self, symbol: str, quote: Quote, now: Micros) -> Json:
        """A symbol's last 24 hours."""
        day = self.day(symbol, now)
        change = day.last - day.first.open
        return {
            **book(symbol, quote),
            "priceChange": text(change),
            "priceChangePercent": text((change * HUNDRED / day.first.open).quantize(Decimal("0.001"))),
            "weightedAvgPrice": text((day.high + day.low) / 2),
            "lastPrice": text(day.last),
            "lastQty": "1",
            "openPrice": text(day.first.open),
            "highPrice": text(day.high),
            "lowPrice": text(day.low),
            "volume": "1000",
            "quoteVolume": text(day.last * 1000),
            "openTime": milliseconds(day.first.at),
            "closeTime": milliseconds(now),
            "firstId": 0,
            "lastId": quote.at,
            "count": 1,
        }

    # -- candles -------------------------------------------------------------------------------------------------------

    def candles(self, symbol: str, minutes: int, now: Micros) -> list[Candle]:
        """Every candle of a length there is, oldest first, to the one that is forming."""
        found: list[Candle] = []
        for minute in self._minutes(symbol, now):
            at = minute.at - minute.at % (minutes * MINUTE)
            if found and found[-1].at == at:
                before = found[-1]
                high, low = max(before.high, minute.high), min(before.low, minute.low)
                found[-1] = replace(before, high=high, low=low, close=minute.close)
            else:
                found.append(replace(minute, at=at))
        return found

    def day(self, symbol: str, now: Micros) -> Day:
        """The last 24 hours, as far as they are on record. Raises BinanceError while there is no price."""
        self._desk.quote(symbol)
        candles = [candle for candle in self._minutes(symbol, now) if candle.at > now - _DAY_MINUTES * MINUTE]
        return Day(
            first=candles[0],
            high=max(candle.high for candle in candles),
            low=min(candle.low for candle in candles),
            last=candles[-1].close,
        )

    def _minutes(self, symbol: str, now: Micros) -> Iterator[Candle]:
        row = self._desk.core.tables.market(symbol)
        if row is None:
            return
        stored, _ = read_candles(self._desk.core.tables, symbol, 0)
        at, last = row.quote.at - row.quote.at % MINUTE, row.quote.last or ZERO
        forming = Candle(at=at, open=row.open, high=row.high, low=row.low, close=last)
        before: Candle | None = None
        for candle in (*stored, forming):
            yield from _flat(before, candle.at)
            yield candle
            before = candle
        yield from _flat(before, now - now % MINUTE + MINUTE)

    def _each(self, request: Request, told: Any) -> Any:
        """One symbol's answer, or all of them."""
        chosen = self._desk.maybe_symbol(request)
        if chosen is not None:
            return told(chosen, self._desk.quote(chosen))
        quotes = [(symbol, self._desk.core.quote(symbol)) for symbol in self._desk.core.instruments]
        return [told(symbol, quote) for symbol, quote in quotes if quote is not None]


def _flat(before: Candle | None, until: Micros) -> Iterator[Candle]:
    """The minutes without a price after a candle."""
    if before is not None:
        price = before.close
        for at in range(before.at + MINUTE, until, MINUTE):
            yield Candle(at=at, open=price, high=price, low=price, close=price)


def kline(candle: Candle, minutes: int) -> list[Any]:
    """A candle as `klines` tells it."""
    opened = milliseconds(candle.at)
    prices = [text(price) for price in (candle.open, candle.high, candle.low, candle.close)]
    return [opened, *prices, "1", opened + minutes * 60_000 - 1, prices[3], 1, "1", prices[3], "0"]


def book(symbol: str, quote: Quote) -> Json:
    """The best bid and ask."""
    return {
        "symbol": market_id(symbol),
        "bidPrice": text(quote.bid or ZERO),
        "bidQty": DEPTH,
        "askPrice": text(quote.ask or ZERO),
        "askQty": DEPTH,
    }


def levels(quote: Quote, tick_size: Decimal) -> tuple[list[list[str]], list[list[str]]]:
    """Bids and asks, best first, a tick apart."""
    bid, ask = quote.bid or ZERO, quote.ask or ZERO
    bids = [[text(bid - step * tick_size), DEPTH] for step in range(LEVELS) if bid > step * tick_size]
    return bids, [[text(ask + step * tick_size), DEPTH] for step in range(LEVELS)]


def next_funding(now: Micros) -> int:
    """When funding is due next, in milliseconds; it is paid only by hand here."""
    return milliseconds(now - now % _EIGHT_HOURS + _EIGHT_HOURS)
