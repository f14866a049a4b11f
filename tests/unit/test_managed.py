"""The positions at work, by id and by slot."""

from hypothesis import given
from hypothesis import strategies as st

from actors.managed import Managed, ManagedPositions

names = st.sampled_from(["a", "b", "c", "preview:1"])
steps = st.lists(st.tuples(names, st.sampled_from(["put", "drop"]), st.sampled_from(["x", "y"])), max_size=30)


@given(steps)
def test_who_holds_a_slot_is_who_a_search_finds(steps: list[tuple[str, str, str]]) -> None:
    """Whatever was put in place of whatever; a preview holds none."""
    positions, naive = ManagedPositions(), dict[str, Managed]()
    for name, step, symbol in steps:
        if step == "put":
            positions[name] = naive[name] = Managed(account="paper", symbol=symbol, ref=None)
        else:
            assert positions.pop(name, None) is naive.pop(name, None)
        assert dict(positions) == naive
        assert list(positions) == list(naive)
        for slot in ("x", "y"):
            held = [name for name, each in naive.items() if each.symbol == slot and not name.startswith("preview:")]
            assert (positions.holder("paper", slot) in held) if held else positions.holder("paper", slot) is None
            assert positions.holder("other", slot) is None
