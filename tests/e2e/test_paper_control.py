"""The control file in a running service: its paper venue loses and delays what the file says."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.keeper import BTC, add_prices, keeping, prices

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("fault", [{"lose": "reply"}, {"delay_request_seconds": 0.5}, {"error": "unknown_after"}])
def test_a_target_in_trouble_is_closed_once(tmp_path: Path, fault: dict[str, Any]) -> None:
    """TP1's order meets the fault, and 60 % are closed, not more."""
    file = prices(tmp_path, "btc", "60000")
    (tmp_path / "exitkeeper.toml").write_text(
        f'[accounts.paper]\nvenue = "paper"\n[accounts.paper.market]\nreplay = "{file.name}"\ncontrol = "faults.json"\n'
    )
    draft = tmp_path / "faults.new"
    draft.write_text(json.dumps({"rules": [{"on": "submit", "position": "p1", "leg": "target-1", **fault}]}))
    draft.rename(tmp_path / "faults.json")
    with keeping(tmp_path, "--config", str(tmp_path / "exitkeeper.toml")) as keeper:
        keeper.opened("p1", symbol=BTC, quantity="0.01")
        add_prices(file, "60600", *["60610"] * 60)
        keeper.until(lambda: Decimal(keeper.position("p1")["remaining"]) == Decimal("0.004"), "TP1 was not closed")
        assert "paper.fault" in keeper.log.read_text(encoding="utf-8")
