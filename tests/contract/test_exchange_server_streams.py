"""The paper exchange server's websockets, as the unmodified ccxt.pro client hears them."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from actors.venues.exchange_server import ExchangeServer
from tests.contract.test_exchange_server import order, signed, stop
from tests.exchange_world import KEY, SYMBOL, client, control, running_exchange, using


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ExchangeServer]:
    """A server whose prices are pushed by hand: BTC at 60000."""
    with running_exchange(tmp_path) as running:
        yield running


async def push(server: ExchangeServer, price: str) -> None:
    """The next price, without standing in the way of who listens."""
    await asyncio.to_thread(control, server.endpoint, "price", {"symbol": SYMBOL, "price": price})


async def heard(told: asyncio.Queue[Any], wanted: Any) -> Any:
    """The first message that is wanted."""
    async with asyncio.timeout(15):
        while not wanted(message := await told.get()):
            pass
    return message


class Ear:
    """A plain websocket, whose messages are kept in order."""

    def __init__(self, server: ExchangeServer, path: str) -> None:
        self._address = server.endpoint.replace("http", "ws") + path
        self.told: asyncio.Queue[Any] = asyncio.Queue()
        self.closed = asyncio.Event()

    async def __aenter__(self) -> "Ear":
        import aiohttp  # noqa: PLC0415  ccxt brings it.

        self._session = aiohttp.ClientSession()
        self._socket = await self._session.ws_connect(self._address)
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        with suppress(asyncio.CancelledError):
            await self._reading
        await self._session.close()

    async def say(self, message: dict[str, Any]) -> None:
        """Send a message."""
        await self._socket.send_str(orjson.dumps(message).decode())

    async def _read(self) -> None:
        async for message in self._socket:
            self.told.put_nowait(orjson.loads(message.data))
        self.closed.set()


# -- the market --------------------------------------------------------------------------------------------------------


def test_market_streams_tell_each_price(server: ExchangeServer) -> None:
    """Book, mark, trades, ticker and candles, by ccxt's own parsers."""

    async def play(exchange: Any) -> None:
        async def hears(watch: Any, good: Any) -> Any:
            async with asyncio.timeout(15):
                while not good(found := await watch()):
                    pass
            return found

        watching = [
            asyncio.create_task(hears(lambda: exchange.watch_bids_asks([SYMBOL]), lambda b: b[SYMBOL]["bid"] == 61234)),
            asyncio.create_task(hears(lambda: exchange.watch_mark_price(SYMBOL), lambda m: m["markPrice"] == 61234)),
            asyncio.create_task(hears(lambda: exchange.watch_trades(SYMBOL), lambda t: t[-1]["price"] == 61234)),
            asyncio.create_task(hears(lambda: exchange.watch_ticker(SYMBOL), lambda t: t["last"] == 61234)),
            asyncio.create_task(hears(lambda: exchange.watch_ohlcv(SYMBOL, "1m"), lambda c: c[-1][4] == 61234)),
            asyncio.create_task(hears(lambda: exchange.watch_order_book(SYMBOL), lambda b: b["bids"][0][0] == 61234)),
        ]
        while not all(task.done() for task in watching):
            # A subscription may come after a price: it is told again until everybody has heard it.
            await push(server, "61233")
            await push(server, "61234")
            await asyncio.wait(watching, timeout=0.2)
        await asyncio.gather(*watching)

    using(server.endpoint, play)


def test_a_mark_price_is_told_each_second_though_nothing_moves(server: ExchangeServer) -> None:
    """So that a silent market is not taken for a dead stream."""

    async def play() -> None:
        async with Ear(server, "/ws/btcusdt@markPrice@1s") as ear:
            times = [(await heard(ear.told, lambda told: told["e"] == "markPriceUpdate"))["E"] for _ in range(3)]
            assert times == sorted(times)

    asyncio.run(play())


def test_combined_streams_name_the_stream(server: ExchangeServer) -> None:
    """By address and by subscription; what is unsubscribed is not told any more."""

    async def play() -> None:
        async with Ear(server, "/stream?streams=btcusdt@bookTicker/ethusdt@bookTicker") as ear:
            await push(server, "60001")
            message = await heard(ear.told, lambda told: told.get("stream") == "btcusdt@bookTicker")
            assert (message["data"]["s"], message["data"]["b"]) == ("BTCUSDT", "60001")
            await ear.say({"method": "UNSUBSCRIBE", "params": ["btcusdt@bookTicker"], "id": 7})
            assert (await heard(ear.told, lambda told: told.get("id") == 7))["result"] is None
            await ear.say({"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 8})
            await heard(ear.told, lambda told: told.get("stream") == "btcusdt@trade")
            await push(server, "60002")
            assert (await ear.told.get())["stream"] == "btcusdt@trade"
            await ear.say({"method": "LIST_SUBSCRIPTIONS", "id": 9})
            listed = await heard(ear.told, lambda told: told.get("id") == 9)
            assert listed["result"] == ["ethusdt@bookTicker", "btcusdt@trade"]
            await ear.say({"method": "SING", "id": 10})
            assert (await heard(ear.told, lambda told: told.get("id") == 10))["error"]["code"] == 2

    asyncio.run(play())


# -- an account's own --------------------------------------------------------------------------------------------------


def test_an_accounts_orders_are_told(server: ExchangeServer) -> None:
    """What a plain order went through, and what it did to position and balance."""

    async def play(exchange: Any) -> None:
        key = (await exchange.fapiPrivatePostListenKey())["listenKey"]
        async with Ear(server, f"/private/ws?listenKey={key}") as ear:
            await asyncio.to_thread(order, server, newClientOrderId="mine")
            messages = [await ear.told.get() for _ in range(3)]
        new, account, trade = messages
        assert (new["o"]["c"], new["o"]["x"], new["o"]["X"]) == ("mine", "NEW", "NEW")
        assert account["a"]["P"][0]["pa"] == "0.01"
        assert account["a"]["B"][0]["wb"] == "999999.7000"
        told = trade["o"]
        assert (told["x"], told["X"], told["l"], told["z"], told["L"]) == ("TRADE", "FILLED", "0.01", "0.01", "60000")

    using(server.endpoint, play)


def test_a_conditional_orders_life_is_told(server: ExchangeServer) -> None:
    """Placed, triggered, filled as a plain order, finished; the last two name that one."""

    async def play(exchange: Any) -> None:
        order(server)
        key = (await exchange.fapiPrivatePostListenKey())["listenKey"]
        async with Ear(server, f"/private/ws?listenKey={key}") as ear:
            await asyncio.to_thread(stop, server, clientAlgoId="stop-1", reduceOnly="true")
            await push(server, "58990")
            seen: list[Any] = []
            while not seen or seen[-1]["o"].get("X") != "FINISHED":
                seen.append(await heard(ear.told, lambda told: told["e"] != "ACCOUNT_UPDATE"))
        algo = [message["o"] for message in seen if message["e"] == "ALGO_UPDATE"]
        plain = [message["o"] for message in seen if message["e"] == "ORDER_TRADE_UPDATE"]
        assert [one["X"] for one in algo] == ["NEW", "TRIGGERING", "TRIGGERED", "FINISHED"]
        assert {one["caid"] for one in algo} == {"stop-1"}
        assert [one["X"] for one in plain] == ["NEW", "FILLED"]
        assert algo[-1]["ai"] == str(plain[0]["i"])
        assert "stop-1" not in {one["c"] for one in plain}

    using(server.endpoint, play)


def test_ccxt_watches_orders_trades_and_positions(server: ExchangeServer) -> None:
    """By its own parsers."""

    async def play(exchange: Any) -> None:
        watching = [
            asyncio.create_task(exchange.watch_orders(SYMBOL)),
            asyncio.create_task(exchange.watch_my_trades(SYMBOL)),
        ]
        while not all(task.done() for task in watching):
            # The stream may open after an order: another one follows until it has been heard.
            await asyncio.to_thread(order, server)
            await asyncio.wait(watching, timeout=0.2)
        [seen], [trade] = watching[0].result()[:1], watching[1].result()[:1]
        assert (seen["symbol"], trade["price"], trade["amount"]) == (SYMBOL, 60000, 0.01)

    using(server.endpoint, play)


def test_cancelled_and_expired_are_told(server: ExchangeServer) -> None:
    """Of both classes."""

    async def play(exchange: Any) -> None:
        key = (await exchange.fapiPrivatePostListenKey())["listenKey"]
        async with Ear(server, f"/ws/{key}") as ear:

            def work() -> None:
                order(server, type="LIMIT", price="50000", timeInForce="GTC", newClientOrderId="resting")
                signed(server, "DELETE", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="resting")
                stop(server, clientAlgoId="stop")
                signed(server, "DELETE", "/fapi/v1/algoOrder", clientAlgoId="stop")

            await asyncio.to_thread(work)
            told = [(await ear.told.get())["o"] for _ in range(4)]
        assert [one["X"] for one in told] == ["NEW", "CANCELED", "NEW", "CANCELED"]

    using(server.endpoint, play)


def test_a_listen_key_expires(tmp_path: Path) -> None:
    """Its stream is told, and closed; a kept one goes on; an unknown one is not let in."""

    async def play(server: ExchangeServer) -> None:
        exchange = client(server.endpoint)
        try:
            key = (await exchange.fapiPrivatePostListenKey())["listenKey"]
            assert (await exchange.fapiPrivatePostListenKey())["listenKey"] == key
            assert (await exchange.fapiPrivatePutListenKey())["listenKey"] == key
            async with Ear(server, f"/private/ws?listenKey={key}") as ear:
                await heard(ear.told, lambda told: told["e"] == "listenKeyExpired")
                await asyncio.wait_for(ear.closed.wait(), 10)
            with pytest.raises(Exception, match="-1125"):
                await exchange.fapiPrivatePutListenKey()
            with pytest.raises(Exception, match="403"):
                async with Ear(server, f"/private/ws?listenKey={key}"):
                    pass
        finally:
            await exchange.close()

    with running_exchange(tmp_path, listen_key_seconds=2) as server:
        asyncio.run(play(server))


def test_streams_are_cut_and_silenced(server: ExchangeServer) -> None:
    """A silent stream is connected and tells nothing; what happened meanwhile is lost, and REST has it."""

    async def play(exchange: Any) -> None:
        key = (await exchange.fapiPrivatePostListenKey())["listenKey"]
        async with Ear(server, f"/private/ws?listenKey={key}") as mine, Ear(server, "/ws/btcusdt@trade") as market:
            await asyncio.to_thread(control, server.endpoint, "streams", {"silence": "user", "seconds": 3600})
            await asyncio.to_thread(order, server)
            await push(server, "60001")
            await heard(market.told, lambda told: told["p"] == "60001")
            assert mine.told.empty()
            assert len(await exchange.fetch_my_trades(SYMBOL)) == 1
            await asyncio.to_thread(control, server.endpoint, "streams", {"silence": "user", "seconds": 0})
            await asyncio.to_thread(order, server)
            assert (await mine.told.get())["o"]["i"] == 2
            dropped = await asyncio.to_thread(control, server.endpoint, "streams", {"drop": "user"})
            assert dropped == {"dropped": 1}
            await asyncio.wait_for(mine.closed.wait(), 10)
            assert not market.closed.is_set()
            await asyncio.to_thread(control, server.endpoint, "streams", {"drop": "all"})
            await asyncio.wait_for(market.closed.wait(), 10)

    using(server.endpoint, play)


def test_streams_of_others_tell_nothing(server: ExchangeServer) -> None:
    """A key's stream is its account's."""

    async def play(exchange: Any) -> None:
        key = (await exchange.fapiPrivatePostListenKey())["listenKey"]
        async with Ear(server, f"/private/ws?listenKey={key}") as ear:
            owner = {"account": "other", "symbol": SYMBOL, "side": "buy", "quantity": "0.01"}
            await asyncio.to_thread(control, server.endpoint, "order", owner)
            await asyncio.to_thread(control, server.endpoint, "order", {**owner, "account": KEY.account})
            first = await ear.told.get()
            assert first["o"]["i"] == 2

    using(server.endpoint, play)


def test_liquidation_and_auto_deleveraging_are_told(server: ExchangeServer) -> None:
    """By the exchange's own client ids."""

    async def play(exchange: Any) -> None:
        await asyncio.to_thread(order, server)
        key = (await exchange.fapiPrivatePostListenKey())["listenKey"]
        async with Ear(server, f"/private/ws?listenKey={key}") as ear:
            slot = {"account": KEY.account, "symbol": SYMBOL, "quantity": "0.004"}
            await asyncio.to_thread(control, server.endpoint, "adl", slot)
            traded = await heard(ear.told, lambda told: told["e"] == "ORDER_TRADE_UPDATE" and told["o"]["x"] == "TRADE")
            assert traded["o"]["c"] == "adl_autoclose"
            await asyncio.to_thread(control, server.endpoint, "liquidate", {"account": KEY.account})
            ended = await heard(
                ear.told, lambda told: told["e"] == "ORDER_TRADE_UPDATE" and told["o"]["x"] == "CALCULATED"
            )
            assert ended["o"]["c"].startswith("autoclose-")
            await asyncio.to_thread(
                control, server.endpoint, "fund", {"account": KEY.account, "symbol": SYMBOL, "amount": "2"}
            )
            await heard(ear.told, lambda told: told["e"] == "ACCOUNT_UPDATE" and told["a"]["m"] == "FUNDING_FEE")

    using(server.endpoint, play)


# -- the websocket API -------------------------------------------------------------------------------------------------


def test_orders_are_placed_over_the_websocket_api(server: ExchangeServer) -> None:
    """Plain and conditional; refused with the same codes; and it meets the same faults."""

    async def play(exchange: Any) -> None:
        sent = await exchange.create_order_ws(SYMBOL, "market", "buy", 0.01, None, {"clientOrderId": "by-ws"})
        assert (sent["clientOrderId"], sent["status"]) == ("by-ws", "closed")
        trigger = {"stopLossPrice": 59000, "clientOrderId": "stop-ws", "reduceOnly": True}
        resting = await exchange.create_order_ws(SYMBOL, "market", "sell", 0.01, None, trigger)
        assert resting["clientOrderId"] == "stop-ws"
        with pytest.raises(Exception, match="-4116"):
            await exchange.create_order_ws(SYMBOL, "market", "sell", 0.01, None, trigger)
        assert (await exchange.fetch_positions_ws([SYMBOL]))[0]["contracts"] == 0.01
        fault = {"on": "POST order", "code": -1007, "executed": True}
        await asyncio.to_thread(control, server.endpoint, "faults", fault)
        with pytest.raises(Exception, match="-1007"):
            await exchange.create_order_ws(SYMBOL, "market", "buy", 0.01)
        assert len(await exchange.fetch_my_trades(SYMBOL)) == 2

    using(server.endpoint, play)
