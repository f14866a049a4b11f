"""What goes wrong at every real exchange, and what must then be concluded. Each exchange's own test module subclasses
`LiveTrouble`; what is peculiar to one is tested there.

Nothing is concluded from a reply that cannot be read, no write is ever sent twice, and everything that happened is
found again under our id.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from decimal import Decimal
from typing import Any

import pytest
import structlog
import structlog.testing

from actors.domain.events import OrderState
from actors.domain.model import OrderKind, OrderSide
from actors.venues.base import (
    AccountRequest,
    LookUpRequest,
    OrderAnswered,
    OrderRejected,
    OrderUnknown,
    OrderUpdated,
    RequestFailed,
    StreamRestored,
    VenueError,
    VenueStatus,
    VenueUnavailable,
)
from tests.contract.standins.market import Market, Order
from tests.contract.standins.server import Call
from tests.contract.venue_contract import ACCOUNT, SYMBOL, Trader

PATIENCE_SECONDS = 1.5

HTML = "<html><body>Just a moment...</body></html>"

# A reply that says nothing, by what is wrong with it.
RUBBISH: dict[str, dict[str, Any]] = {
    "html with 200": {"body": HTML, "content_type": "text/html"},
    "html with 502": {"body": HTML, "content_type": "text/html", "status": 502},
    "json with 500": {"body": "{}", "status": 500},
    "empty": {"body": ""},
    "an empty object": {"body": "{}"},
    "an empty list": {"body": "[]"},
    "cut off": {"body": None},
    "truncated": {"edit": lambda text: text[: len(text) // 2]},
    "too late": {"body": "{}", "delay_seconds": PATIENCE_SECONDS * 2},
}


def failure(answer: Any) -> VenueError:
    """The error of a request that has failed."""
    assert isinstance(answer, RequestFailed), answer
    return answer.error


def answered(answer: Any) -> Any:
    """The order of a request that was answered."""
    assert isinstance(answer, OrderAnswered), answer
    assert answer.order is not None
    return answer.order


class LiveTrouble:
    """The suite. A subclass provides the fixture `standin`, `open`, and what a call is for."""

    secrets: tuple[str, ...] = ()
    page = 100

    @staticmethod
    def open(standin: Any, **changes: Any) -> AbstractContextManager[Trader]:
        """A trader on a stand-in, with changes to its settings."""
        raise NotImplementedError

    @pytest.fixture
    def trader(self, standin: Any) -> Iterator[Trader]:
        """A trader of little patience on a fresh account."""
        with self.open(standin, request_timeout_seconds=PATIENCE_SECONDS) as found:
            yield found

    @staticmethod
    def is_send(call: Call) -> bool:
        """Whether a call places an order at market."""
        raise NotImplementedError

    @staticmethod
    def is_cancel(call: Call) -> bool:
        """Whether a call cancels a stop."""
        raise NotImplementedError

    # -- replies that say nothing --------------------------------------------------------------------------------------

    @pytest.mark.parametrize("rubbish", RUBBISH)
    def test_a_damaged_reply_to_an_order_that_arrived_is_unknown(
        self, trader: Trader, standin: Any, rubbish: str
    ) -> None:
        """It was executed all the same: a look-up finds it, and it was sent once."""
        fault = standin.fail(self.is_send, after=True, **RUBBISH[rubbish])
        assert isinstance(failure(trader.submit(trader.order("a"))), OrderUnknown)
        found = trader.look_up("a", OrderKind.MARKET).order
        assert found is not None
        assert (found.state, found.filled) == (OrderState.FILLED, Decimal("0.01"))
        assert (fault.seen, len([call for call in standin.calls if self.is_send(call)])) == (1, 1)

    @pytest.mark.parametrize("rubbish", [name for name in RUBBISH if name != "truncated"])
    def test_a_damaged_reply_to_an_order_that_did_not_arrive_is_unknown(
        self, trader: Trader, standin: Any, rubbish: str
    ) -> None:
        """Whether it arrived cannot be told from the reply: it is looked for, and absent."""
        standin.fail(self.is_send, **RUBBISH[rubbish])
        assert isinstance(failure(trader.submit(trader.order("a"))), OrderUnknown)
        assert trader.look_up("a", OrderKind.MARKET).order is None
        assert len([call for call in standin.calls if self.is_send(call)]) == 1

    def test_an_exchange_that_cannot_be_reached_was_never_asked(self, trader: Trader, standin: Any) -> None:
        """A connection that was refused is definite: nothing left."""
        standin.__exit__()
        # A connection that was kept open may still be thought alive: the first request to use it finds out.
        failure(self.raw_look_up(trader, trader.next_id(), "a", OrderKind.MARKET))
        assert isinstance(failure(trader.submit(trader.order("a"))), VenueUnavailable)

    @pytest.mark.parametrize("rubbish", ["html with 200", "json with 500", "cut off", "truncated", "an empty object"])
    def test_a_damaged_look_up_is_never_an_absence(self, trader: Trader, standin: Any, rubbish: str) -> None:
        """What could not be read is not missing."""
        trader.filled("a")
        standin.fail(self.is_look_up, times=20, **RUBBISH[rubbish])
        request_id = trader.next_id()
        error = failure(self.raw_look_up(trader, request_id, "a", OrderKind.MARKET))
        assert not isinstance(error, OrderRejected)

    def test_a_lost_reply_to_a_cancellation_tells_what_became_of_the_order(self, trader: Trader, standin: Any) -> None:
        """The order itself is asked."""
        trader.filled("a")
        answered(trader.submit(trader.stop_order("s", trader.stop_below())))
        standin.fail(self.is_cancel, after=True, body=None)
        assert answered(trader.cancel("s", OrderKind.STOP_MARKET)).state is OrderState.CANCELLED

    # -- orders --------------------------------------------------------------------------------------------------------

    def test_cancelling_a_stop_that_has_filled_tells_its_fill(self, trader: Trader, standin: Any) -> None:
        """A cancellation that came too late does not hide the execution."""
        trader.filled("a")
        stop = trader.stop_below()
        trader.submit(trader.stop_order("s", stop))
        trader.moved_to(stop)
        order = answered(trader.cancel("s", OrderKind.STOP_MARKET))
        assert (order.state, order.filled, order.trades[0].price) == (OrderState.FILLED, Decimal("0.01"), stop)

    def test_a_stop_that_triggered_is_read_back_with_its_fills_under_our_id(self, trader: Trader, standin: Any) -> None:
        """In its own class, among the trades, and as an update of the stream."""
        trader.filled("a")
        stop = trader.stop_below()
        trader.submit(trader.stop_order("s", stop))
        trader.moved_to(stop - 100)
        found = trader.look_up("s", OrderKind.STOP_MARKET)
        assert found.order is not None
        assert (found.order.state, found.venue_quantity) == (OrderState.FILLED, Decimal(0))
        assert (found.order.trigger_price, found.order.reduce_only) == (stop, True)
        assert [(trade.client_order_id, trade.price) for trade in found.order.trades] == [("s", stop - 100)]
        assert trader.account(found.order.trades[0].at).trades == found.order.trades
        assert trader.look_up("s", OrderKind.MARKET).order is None

        def told() -> list[OrderState]:
            updates = [message.order for message in trader.heard if isinstance(message, OrderUpdated)]
            return [order.state for order in updates if order.client_order_id == "s"]

        assert trader.until(lambda: OrderState.FILLED in told())

    def test_an_order_that_is_accepted_and_rejected_later_ends_without_a_fill(
        self, trader: Trader, standin: Any
    ) -> None:
        """An acceptance is no outcome: the order is read back, and has ended."""
        standin.market.reject_later = self.late_rejection
        order = answered(trader.submit(trader.order("a")))
        assert order.state in (OrderState.REJECTED, OrderState.CANCELLED)
        assert (order.filled, order.trades) == (Decimal(0), ())
        assert trader.account().position is None

    late_rejection = "rejected"

    def test_an_order_that_fills_in_part_ends_with_that_part(self, trader: Trader, standin: Any) -> None:
        """At market the rest is given up, and it is no full fill."""
        standin.market.fill_fraction = Decimal("0.5")
        order = answered(trader.submit(trader.order("a")))
        assert (order.state, order.filled) == (OrderState.CANCELLED, Decimal("0.005"))
        assert sum(trade.quantity for trade in order.trades) == Decimal("0.005")

    def test_a_limit_order_that_fills_in_part_goes_on_with_its_trades(self, trader: Trader, standin: Any) -> None:
        """Read alone and among the open orders, it tells what was executed so far."""
        trader.filled("a")
        trader.limited("l", trader.profit_above())
        market = standin.market
        market.settle_partly(market.orders[-1], Decimal("0.004"))
        for order in (trader.look_up("l", OrderKind.LIMIT).order, trader.account().orders[0]):
            assert order is not None
            assert (order.state, order.filled) == (OrderState.OPEN, Decimal("0.004"))
            assert [trade.client_order_id for trade in order.trades] == ["l"]
        answered(trader.cancel("l", OrderKind.LIMIT))
        found = trader.look_up("l", OrderKind.LIMIT).order
        assert found is not None
        assert (found.state, found.filled) == (OrderState.CANCELLED, Decimal("0.004"))

    def test_trades_that_lag_behind_their_order_are_waited_for(self, trader: Trader, standin: Any) -> None:
        """An order is told with all its trades or not at all."""
        standin.fail(self.is_list_of_fills, times=2, edit=self.without_fills)
        order = trader.filled("a")
        assert sum(trade.quantity for trade in order.trades) == Decimal("0.01")

    def test_an_open_order_whose_trades_lag_makes_no_read_of_the_account(self, trader: Trader, standin: Any) -> None:
        """A read is whole or it has failed."""
        trader.filled("a")
        trader.limited("l", trader.profit_above())
        standin.market.settle_partly(standin.market.orders[-1], Decimal("0.004"))
        fault = standin.fail(self.is_list_of_fills, times=50, edit=self.without_fills)
        request = AccountRequest(request_id=trader.next_id(), account=ACCOUNT, symbol=SYMBOL, trades_since=0)
        trader.venue.read_account(request)
        assert isinstance(failure(trader._outcome(request.request_id)), VenueUnavailable)
        fault.times = 0
        assert [order.filled for order in trader.account().orders] == [Decimal("0.004")]

    def test_a_foreign_order_without_a_client_id_is_listed_and_can_be_cancelled(
        self, trader: Trader, standin: Any
    ) -> None:
        """By the exchange's own id."""
        trader.filled("a")
        market = standin.market
        for kind in (OrderKind.STOP_MARKET, OrderKind.LIMIT):
            market.place(foreign(market, kind))
            (order,) = trader.account().orders
            assert (order.client_order_id, order.kind) == ("", kind)
            trader.cancel(order.venue_order_id, kind)
            assert trader.account().orders == ()

    # -- the account ---------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("cause", ["liquidated", "adl"])
    def test_what_the_exchange_closes_itself_is_told_with_its_cause(
        self, trader: Trader, standin: Any, cause: str
    ) -> None:
        """It carries no id of ours."""
        trader.filled("a")
        standin.market.seize(cause)
        account = trader.account()
        assert account.position is None
        assert (account.trades[-1].cause, account.trades[-1].client_order_id) == (cause, "")
        assert account.trades[0].cause == "order"

    def test_more_orders_and_trades_than_a_page_are_told_whole(self, trader: Trader, standin: Any) -> None:
        """Nothing beyond a page is forgotten, nothing is told twice."""
        market = standin.market
        first = trader.filled("a").trades[0]
        wanted = self.page * 2 + 30
        # Nobody hears of each of them: the budget would be spent on reading them one by one.
        market.changed.clear()
        for number in range(wanted):
            client_id = f"{number:032x}"
            market.place(
                Order(
                    number=market.number(),
                    client_id=client_id,
                    kind="limit",
                    side="buy",
                    quantity=Decimal("0.001"),
                    limit_price=Decimal(30000),
                )
            )
            market.place(
                Order(
                    number=market.number(),
                    client_id="f" + client_id[1:],
                    kind="market",
                    side="buy",
                    quantity=Decimal("0.001"),
                )
            )
        account = trader.account(first.at)
        assert len({order.client_order_id for order in account.orders}) == len(account.orders) == wanted
        assert len({trade.trade_id for trade in account.trades}) == len(account.trades) == wanted + 1
        assert list(account.trades) == sorted(account.trades, key=lambda trade: trade.at)

    def test_fundings_are_told_from_a_time_on(self, trader: Trader, standin: Any) -> None:
        """Positive when received."""
        first = trader.filled("a").trades[0]
        self.pay(standin, first.at // 1000 + 5, Decimal("0.25"))
        self.pay(standin, first.at // 1000 - 5000, Decimal(-1))
        assert [payment.amount for payment in trader.account(first.at).fundings] == [Decimal("0.25")]
        assert trader.account().fundings == ()

    def test_a_revoked_key_is_told_and_nothing_is_sent_with_it(self, trader: Trader, standin: Any) -> None:
        """The order is definitely not executed, and the account is not ready any more."""
        self.revoke(standin)
        assert trader.refused(trader.order("a")) == "auth"
        assert trader.until(lambda: not trader.ready())
        statuses = [message for message in trader.heard if isinstance(message, VenueStatus)]
        assert statuses[-1].code == "auth"

    def test_a_stream_that_broke_is_connected_anew_and_told(self, trader: Trader, standin: Any) -> None:
        """What it would have told meanwhile is lost, so everything is to be read again."""
        standin.break_streams()
        assert trader.until(lambda: any(isinstance(message, StreamRestored) for message in trader.heard))
        heard = len(trader.heard)
        trader.moved_to(Decimal(61000))
        trader.filled("a")
        assert trader.until(lambda: any(isinstance(message, OrderUpdated) for message in trader.heard[heard:]))

    def test_an_exchange_whose_clock_is_ahead_is_signed_for_in_its_own_time(self, standin: Any) -> None:
        """And a request that is too old there is still refused."""
        standin.market.clock_skew_ms = 40_000
        with self.open(standin) as trader:
            late = trader.order("b", signed_at=trader.runtime.clock.now() - 60_000_000)
            assert trader.refused(late) == "expired"
            trader.filled("a")

    def test_no_secret_is_ever_shown(self, standin: Any) -> None:
        """Not even when the exchange itself repeats the request in its error."""
        echo = " ".join(self.secrets)
        # A logger keeps what it was bound with, so the log is caught before the account is opened.
        with everything_logged() as logged, self.open(standin) as trader:
            for body, status in ((f'{{"msg": "{echo}"}}', 400), (f"<p>{echo}</p>", 502), (f"<p>{echo}</p>", 200)):
                standin.fail(self.is_send, body=body, status=status)
                failure(trader.submit(trader.order("a")))
            standin.break_streams()
            assert trader.until(lambda: any(entry["event"] == "feed.stale" for entry in logged))
            text = repr(logged) + repr(trader.heard) + "".join(str(getattr(m, "error", "")) for m in trader.heard)
        assert [secret for secret in self.secrets if secret in text] == []

    # -- what differs --------------------------------------------------------------------------------------------------

    @staticmethod
    def is_look_up(call: Call) -> bool:
        """Whether a call reads one order."""
        raise NotImplementedError

    @staticmethod
    def is_list_of_fills(call: Call) -> bool:
        """Whether a call lists fills."""
        raise NotImplementedError

    @staticmethod
    def without_fills(text: str) -> str:
        """The list of fills before anything is in it."""
        raise NotImplementedError

    @staticmethod
    def pay(standin: Any, at: int, received: Decimal) -> None:
        """A funding payment."""
        standin.fundings.append((at, received))

    @staticmethod
    def revoke(standin: Any) -> None:
        """The account's key is worth nothing any more."""
        standin.revoked = True

    @staticmethod
    def raw_look_up(trader: Trader, request_id: str, order_id: str, kind: OrderKind) -> Any:
        """A look-up that may fail."""
        request = LookUpRequest(
            request_id=request_id, account=ACCOUNT, symbol=SYMBOL, client_order_id=order_id, kind=kind
        )
        trader.venue.look_up(request)
        return trader._outcome(request_id)


@contextmanager
def everything_logged() -> Iterator[list[Any]]:
    """What is logged meanwhile, whatever level the tests are otherwise content with."""
    quiet = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(0))
    try:
        with structlog.testing.capture_logs() as logged:
            yield logged
    finally:
        structlog.configure(wrapper_class=quiet)


def foreign(market: Market, kind: OrderKind) -> Order:
    """An exit that somebody else placed, without a client id."""
    stop = kind is OrderKind.STOP_MARKET
    return Order(
        number=market.number(),
        client_id="",
        kind="stop" if stop else "limit",
        side=OrderSide.SELL.value,
        quantity=Decimal("0.01"),
        reduce_only=True,
        trigger_price=Decimal(50000) if stop else None,
        limit_price=None if stop else Decimal(70000),
    )


def refusals(cases: dict[str, tuple[str, type[VenueError], str]]) -> pytest.MarkDecorator:
    """A parameter for each reply: its body, the class of what may be concluded, and the code."""
    return pytest.mark.parametrize(("body", "error", "code"), cases.values(), ids=cases.keys())


def conclude(trader: Trader, standin: Any, is_send: Any, body: str) -> VenueError:
    """What is concluded when the order that was sent is answered so."""
    fault = standin.fail(is_send, body=body)
    error = failure(trader.submit(trader.order("a")))
    assert fault.seen == 1
    return error
