"""A short exchange campaign: keeper, Redis and exchange killed in turn, faults and hands, the journal as the judge."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from actors.domain.step import client_order_id
from actors.venues.exchange_audit import read_audit
from scripts.crash_exchange import Campaign, run
from scripts.crash_exchange_judge import Played, Watch, judge
from scripts.crash_exchange_world import ACCOUNT
from tests.exchange_world import SYMBOL, control, running_exchange

TAG = "0badcafe"


@pytest.mark.crash
def test_the_journal_holds_nothing_against_a_keeper_under_fire(tmp_path: Path) -> None:
    """No leg over its plan, no total over the position, every book equal to the exchange's."""
    told: list[str] = []
    campaign = Campaign(bars=1800, kills=4, seed=2, speed=3600, faults_a_minute=40, hands_a_minute=10)
    assert run(campaign, tmp_path, say=told.append) == []
    assert any("kills" in line or "killed" in line for line in told)


def verdict(folder: Path, position: Mapping[str, object], one: Played, state: object) -> str:
    """What the judge says of one position, in one text."""
    audit = read_audit(folder / "exchange.sqlite", account=ACCOUNT)
    return "\n".join(
        judge(
            audit,
            [position],
            {one.id: one},
            tags=[TAG],
            state=state,
            outages=[],
            watch=Watch(),
            say=lambda _: None,
            story="",
        )
    )


def test_the_judge_sees_a_target_that_was_sold_twice(tmp_path: Path) -> None:
    """60 % and 40 % under another id: the incident itself. And a book that does not know it, and no stop."""
    one = Played(id="p1", symbol=SYMBOL, side="long", quantity="1", plan="runner")
    with running_exchange(tmp_path) as server:
        for leg, generation, side, quantity in (
            ("entry", 0, "BUY", "1"),
            ("target-1", 0, "SELL", "0.6"),
            ("target-1", 1, "SELL", "0.4"),
        ):
            name = client_order_id(TAG, "p1", leg, generation)
            order = {"account": ACCOUNT, "symbol": SYMBOL, "side": side, "quantity": quantity}
            control(server.endpoint, "order", {**order, "newClientOrderId": name})
        state = control(server.endpoint, "state", method="GET")
        fills = [
            {"leg": "entry", "quantity": "1", "price": "60000"},
            {"leg": "target-1", "quantity": "0.6", "price": "60000"},
        ]
        position = {
            "id": "p1",
            "symbol": SYMBOL,
            "side": "long",
            "phase": "open",
            "remaining": "0.4",
            "close_reason": None,
            "fills": fills,
            "targets": [{"number": 1, "quantity": "0.6"}],
        }
        said = verdict(tmp_path, position, one, state)
    assert "target-1 executed 1.0 of 0.6" in said
    assert "not in the books" in said
    assert "holds 0.4, the exchange 0" in said
