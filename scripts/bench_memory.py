"""The resident memory of a process with 100,000 live positions, all in.

A fresh process boots on what bench_boot fills in; what it holds more than before is divided by the positions: actors,
states, registrations, published values, and the accounts, gateways and markets around them. A second process boots the
same accounts without a position, which says what of it is theirs.
"""

from scripts.bench_boot import child, layout_of
from scripts.bench_row import Bench, Result, Row, number
from scripts.bench_states import Copies, open_position
from scripts.bench_world import world

BAR_BYTES = 8 * 1024


def run(bench: Bench) -> Result:
    """One process with positions, one without."""
    layout = layout_of(bench)
    with world(bench.folder / "world", layout, copies=Copies(open_position())) as built:
        bench.say(f"  seeded {layout.said()}")
        full = child(built.folder, layout, decode=False)
    with world(bench.folder / "empty", layout) as built:
        empty = child(built.folder, layout, decode=False, seeded=False)
    each = (full["rss"] - full["before"]) / layout.positions
    alone = (full["rss"] - empty["rss"]) / layout.positions
    around = empty["rss"] - empty["before"]
    rows = (
        Row(
            what="a position, all in",
            measured=f"{each:,.0f} bytes",
            against=f"{BAR_BYTES:,} bytes",
            ratio=f"{each / BAR_BYTES:.2f}×",
            bar="≤ 8 KiB",
            held=each <= BAR_BYTES,
        ),
        Row(
            what="of it the position alone",
            measured=f"{alone:,.0f} bytes",
            against=f"accounts, gateways and markets: {around / layout.positions:,.0f} bytes for each position",
        ),
    )
    markets = layout.accounts * layout.symbols
    notes = (
        layout.said(),
        f"{layout.accounts:,} gateways and {markets:,} (account, symbol) markets: {number(around / 1024 / 1024)} MiB; "
        f"the process itself {number(full['before'] / 1024 / 1024)} MiB",
    )
    return Result(name="memory", rows=rows, notes=notes)


def hot(bench: Bench) -> None:
    """Nothing to profile."""
    run(bench)
