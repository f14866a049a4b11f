"""Every planted fault is noticed, and the catalogue is that of today's code."""

from pathlib import Path

import pytest

from tests.simulation.planted import CATALOGUE, SINGLES, catch, falls, known_run, play, stands
from tests.simulation.planted_seen import PAIRS, SEEN, TESTS
from tests.simulation.planting import CannotPlant, Edit, function_of, planted

LISTED = (
    "act before save",
    "random client ids",
    "no fence",
    "no version check",
    "timeout read as refusal",
    "peak reset on boot",
    "no reconcile",
    "no stash",
    "spill ignored",
    "resize skipped",
    "cancel before create",
    "fills not deduplicated",
    "WatchError always retried",
    "one read believed",
)


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name in SEEN])
def test_a_run_shows_the_planted_fault(name: str) -> None:
    """The same run keeps every promise without the fault, and breaks one with it."""
    plant = CATALOGUE[name]
    options = known_run(plant)
    assert options is not None
    broken = play(options)
    assert broken is None, broken
    assert catch(plant, [options]) is not None


@pytest.mark.parametrize("name", list(TESTS))
def test_a_hidden_fault_makes_its_own_test_fall(name: str) -> None:
    """No run shows it alone, because another defence stands behind it: a test looks at that one alone."""
    stands(CATALOGUE[name])
    assert falls(CATALOGUE[name])


@pytest.mark.parametrize("name", SINGLES)
def test_a_fault_can_still_be_planted(name: str) -> None:
    """Each of its lines is in the production code, once; afterwards the code is as it was."""
    edits = SINGLES[name].edits
    before = [function_of(edit.target).__code__ for edit in edits]
    with planted(edits):
        assert all(function_of(edit.target).__code__ is not code for edit, code in zip(edits, before, strict=True))
    assert [function_of(edit.target).__code__ for edit in edits] == before


def test_every_fault_is_shown_by_a_run_or_by_a_test() -> None:
    """None is only listed."""
    assert set(CATALOGUE) == set(SEEN) | set(TESTS)
    assert len(CATALOGUE) >= 24


def test_a_fault_that_hides_is_shown_in_a_pair_too() -> None:
    """What fence, versions and ids hide from each other is taken away together."""
    for pair in PAIRS:
        assert set(pair) <= set(SINGLES)
        assert " + ".join(pair) in SEEN


@pytest.mark.parametrize("name", LISTED)
def test_the_faults_that_everybody_would_think_of_are_there(name: str) -> None:
    """They are named in the issue that asked for this."""
    assert name in SINGLES


@pytest.mark.parametrize(
    "target, old",
    [
        ("actors.domain.step:Step.look_up", "no such line"),
        ("actors.domain.step:Step.gone", ""),
        ("actors.gone:gone", ""),
        ("actors.domain.step:ORDER_TAG_DIGITS", ""),
        ("actors.domain.step:Step.change", "self"),
    ],
)
def test_what_is_not_there_cannot_be_planted(target: str, old: str, tmp_path: Path) -> None:
    """A fault that changes nothing would prove nothing, so it fails loudly."""
    with pytest.raises(CannotPlant), planted([Edit(target=target, old=old, new="")]):
        tmp_path.joinpath("never").touch()
    assert list(tmp_path.iterdir()) == []
