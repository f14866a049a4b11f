"""The crash campaign, short: a month's first day played twice, once with kill -9, and a comparison that can fail."""

import importlib.util
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from persistence.redis_server import EmbeddedRedis
from service.views import POSITION_FIELDS

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "crash_campaign.py"
LEFT_OUT = {"version", "epoch", "updated_at", "pending"}


@pytest.fixture(scope="module")
def campaign() -> Iterator[Any]:
    """The script as a module; it is not on the path, and leaves the path as it was."""
    path = list(sys.path)
    specification = importlib.util.spec_from_file_location("crash_campaign", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    # Its dataclasses look themselves up here.
    sys.modules["crash_campaign"] = module
    specification.loader.exec_module(module)
    sys.path[:] = path
    yield module
    del sys.modules["crash_campaign"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path, as sockets want it; whatever server is left in it is ended."""
    found = Path(tempfile.mkdtemp(prefix="ek-"))
    yield found
    for run in ("calm", "killed"):
        EmbeddedRedis(found / run / "data").stop()
    shutil.rmtree(found)


@pytest.mark.slow
@pytest.mark.crash
def test_no_kill_changes_what_becomes_of_a_position(
    campaign: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five kills of the service and one of its Redis: the same exits, the same executions, nothing left out."""
    # The synthetic month: the same bars here as where the recorded one is not beside the project.
    monkeypatch.setattr(campaign, "MONTH", folder / "none.csv")
    said: list[str] = []
    plan = campaign.Campaign(bars=1500, kills=5, redis_kills=1, openings=4, seed=1)
    assert campaign.run(plan, folder, say=said.append) == []
    opened = [int(number) for line in said for number in re.findall(r"(\d+) positions opened", line)]
    assert len(opened) == 2
    assert min(opened) >= 3
    assert campaign.executions(folder / "killed")


def a_position(**fields: Any) -> dict[str, Any]:
    """A position as the API shows it, every field with a value of its own."""
    resident = {"leg": "resident-3", "price": "59100", "quantity": "0.01", "status": "resting"}
    return {**{name: f"the {name}" for name in POSITION_FIELDS}, "resident_stop": resident, **fields}


def test_the_comparison_leaves_nothing_out_but_what_a_kill_may_change(campaign: Any) -> None:
    """Versions, epochs, the time of the last save, what is under way, and the number of the resident stop."""
    position = a_position()
    kept = campaign.essence(position)
    assert set(POSITION_FIELDS) - set(kept) == LEFT_OUT
    assert kept["resident_stop"] == {"quantity": "0.01", "status": "resting"}
    for name in set(POSITION_FIELDS) - LEFT_OUT - {"resident_stop"}:
        assert kept[name] == position[name]
    assert campaign.essence(a_position(resident_stop=None))["resident_stop"] is None


@pytest.mark.parametrize("name", sorted(set(POSITION_FIELDS) - LEFT_OUT))
def test_the_comparison_sees_every_difference(campaign: Any, name: str) -> None:
    """One field of one position planted, whichever it is: one difference, in words."""
    calm = {"p0": campaign.essence(a_position()), "p1": campaign.essence(a_position())}
    killed = deepcopy(calm)
    assert campaign.compare(calm, killed) == []
    killed["p1"][name] = "planted"
    (difference,) = campaign.compare(calm, killed)
    assert difference.startswith(f"p1: {name}: ")
    assert "planted" in difference


def test_the_comparison_sees_a_position_that_is_only_in_one_run(campaign: Any) -> None:
    """Lost or doubled, it is named with the run that has it."""
    calm = {"p0": campaign.essence(a_position()), "p1": campaign.essence(a_position())}
    killed = {"p0": calm["p0"], "p2": calm["p1"]}
    assert campaign.compare(calm, killed) == ["p1: only in the calm run", "p2: only in the killed run"]


def test_the_synthetic_month_is_the_same_everywhere(campaign: Any) -> None:
    """Seeded, and made of bars that hold together."""
    rows = list(campaign.synthetic(500))
    assert rows == list(campaign.synthetic(500))
    for row in rows:
        begin, high, low, end = (float(text) for text in row.split(",")[1:5])
        assert low <= min(begin, end) <= max(begin, end) <= high
