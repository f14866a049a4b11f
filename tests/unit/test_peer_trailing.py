"""Another engine's trailing-stop scenarios, told as plans of ours; two end in a crash that theirs does not survive.

The scenarios stay where they are, outside the repository; without them these tests are skipped. Their order is our
adopted position: an activation price is a target that arms the trail, none at all is a plan that trails from the start,
and a trigger given at submission rests until the next quote, so its trail is armed by a target a hair into profit.
"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest

from actors.domain import schema
from actors.domain.events import Reconciled, Recovered
from actors.domain.model import IntentStatus
from tests.unit.driver import D, Desk, command, quote

CASES = Path(__file__).resolve().parents[2].parent / "shared" / "cases" / "peer_trailing.json"
HAIR = D("0.0000001")


def read_cases(kind: str) -> list[Any]:
    """The scenarios of one kind as parameters; one that skips with its reason where they are missing."""
    if not CASES.exists():
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"{CASES.name} is not beside this repository"))]
    return [pytest.param(case, id=case["id"]) for case in json.loads(CASES.read_text(encoding="utf-8"))[kind]]


class Peer:
    """One scenario: prices gather until the order is submitted, then each step is compared."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.side = "long" if order["side"] == "sell" else "short"
        self.increment = D(order["price_increment"])
        self.prices: dict[str, Decimal] = {}
        self.quantity = D(order.get("quantity", "1000"))
        self.desk: Desk | None = None

    def step(self, step: dict[str, Any]) -> None:
        """Do what one step says."""
        if "quote" in step:
            self.prices.update(bid=D(step["quote"]["bid"]), ask=D(step["quote"]["ask"]))
            self._price()
        elif "trade" in step:
            self.prices["last"] = D(step["trade"])
            self._price()
        elif "submit" in step:
            self._submit()
        elif "set_quantity" in step:
            self._set_quantity(D(step["set_quantity"]))
        elif "crash_and_restart" in step:
            self._crash()
        else:
            raise AssertionError(f"a step that this test does not know: {step}")
        self._compare(step["expect"])

    def _price(self) -> None:
        if self.desk is not None:
            self.desk.price(**self.prices)

    def _reference(self) -> Decimal:
        source = self.order["trigger_type"]
        if source == "last_price":
            return self.prices["last"]
        assert source in ("bid_ask", "default")
        return self.prices["bid" if self.side == "long" else "ask"]

    def _plan(self) -> dict[str, Any]:
        order, sign = self.order, 1 if self.side == "long" else -1
        offset = D(order["offset"])
        distance = {
            "price": {"price": str(offset)},
            "ticks": {"price": str(offset * self.increment)},
            "basis_points": {"percent": str(offset / 100)},
        }[order["offset_type"]]
        source = "last" if order["trigger_type"] == "last_price" else "bid_ask"
        plan: dict[str, Any] = {
            "stop": {"percent": "90"} if order["trigger"] is None else {"price": order["trigger"]},
            "trigger_by": {"stop": source, "targets": source},
        }
        if order["activation"] is None and order["trigger"] is None:
            return {**plan, "trail": distance}
        level = order["activation"] or str(self._reference() + sign * HAIR)
        return {**plan, "targets": [{"at": {"price": level}, "close": "0", "then": {"trail": distance}}]}

    def _submit(self) -> None:
        self.desk = Desk.start(
            command(
                self._plan(),
                self.side,
                adopt=True,
                entry_price=self._reference(),
                quantity=self.quantity,
                quote=quote(**self.prices),
            )
        )

    def _set_quantity(self, quantity: Decimal) -> None:
        self.quantity = quantity
        if self.desk is not None:
            self.desk.close(quantity / self.desk.position.remaining, "set-quantity")
            assert self.desk.position.remaining == quantity

    def _crash(self) -> None:
        """Only what was saved survives: the state goes through bytes, and the latest prices are lost."""
        assert self.desk is not None
        before = self.desk.position
        stored = msgpack.unpackb(msgpack.packb([schema.SCHEMA, schema.dump(before)]))
        loaded = schema.load(stored[1], stored[0])
        assert loaded == before
        assert loaded.latest is None
        self.desk.position = loaded
        self.desk.tell(Recovered(at=self.desk.at, terms=before.terms, instrument=before.instrument))
        self.desk.tell(Reconciled(at=self.desk.at))
        assert all(intent.status is not IntentStatus.UNKNOWN for intent in self.desk.position.intents)
        assert self.desk.position.protected

    def _compare(self, expect: dict[str, Any]) -> None:
        if not expect:
            return
        assert self.desk is not None
        position = self.desk.position
        for name, value in expect.items():
            if name == "activated":
                assert position.trailing_stop_active is value
            elif name == "activation":
                given = self.order["activation"]
                assert D(value) == (D(given) if given else position.peak_price)
            elif name == "trigger" and value is None:
                assert position.stop_reason == "stop_loss"
            elif name == "trigger":
                assert position.stop_price is not None
                assert position.stop_price.quantize(self.increment) == D(value)
            elif name == "quantity":
                assert position.remaining == D(value)
            elif name == "fired":
                assert self.desk.submits("stop")
                assert position.remaining == 0
            elif name == "fill_price":
                assert self.desk.exits()[-1][2] == D(value)
            elif name == "filled_quantity":
                assert self.desk.exits()[-1][3] == D(value)
            else:
                raise AssertionError(f"an expectation that this test does not know: {name}")


def run(case: dict[str, Any]) -> Peer:
    """Every step of a scenario, each one compared."""
    peer = Peer(case["order"])
    for step in case["steps"]:
        peer.step(step)
    return peer


@pytest.mark.parametrize("case", read_cases("sequences"))
def test_our_trail_moves_and_fires_where_the_peers_does(case: dict[str, Any]) -> None:
    """Arming, ratchet, firing, fill price and quantity, step by step."""
    run(case)


@pytest.mark.parametrize("case", read_cases("crash"))
def test_an_armed_trail_survives_a_crash(case: dict[str, Any]) -> None:
    """The stop stands where it stood, and a price that has gapped below it meanwhile closes everything at once."""
    peer = run(case)
    assert peer.desk is not None
    assert peer.desk.exits()[-1][1] == "trailing_stop"
    assert peer.desk.venue == 0
