"""What two runs of the crash campaign left behind, compared."""

import sqlite3
from pathlib import Path
from typing import Any


def essence(position: dict[str, Any]) -> dict[str, Any]:
    """What no kill may change. Versions, epochs and the numbers of resident stops may differ."""
    left_out = ("version", "epoch", "updated_at", "pending")
    kept = {key: value for key, value in position.items() if key not in left_out}
    if kept["resident_stop"] is not None:
        kept["resident_stop"] = {key: kept["resident_stop"][key] for key in ("quantity", "status")}
    return kept


def executions(folder: Path) -> list[tuple[str, ...]]:
    """Every execution in the paper exchange's own ledger, without ids that differ between installations."""
    ledger = sqlite3.connect(f"file:{folder / 'data' / 'paper-paper.sqlite'}?mode=ro", uri=True)
    try:
        rows = ledger.execute("select symbol, side, quantity, price, at from trades order by rowid").fetchall()
    finally:
        ledger.close()
    return [tuple(str(value) for value in row) for row in rows]


def compare(calm: dict[str, Any], killed: dict[str, Any]) -> list[str]:
    """Every difference, in words; empty when there is none."""
    differences = []
    for position_id in sorted(calm.keys() | killed.keys()):
        one, other = calm.get(position_id), killed.get(position_id)
        if one is None or other is None:
            differences.append(f"{position_id}: only in the {'killed' if one is None else 'calm'} run")
            continue
        differences += [
            f"{position_id}: {key}: {one[key]!r} without kills, {other[key]!r} with"
            for key in one
            if one[key] != other[key]
        ]
    return differences


def report(results: list[dict[str, Any]], differences: list[str], say: Any) -> None:
    """The comparison, position by position."""
    calm, killed = results
    say(f"{'position':10} {'side':6} {'entry':>10} {'exits':44} {'gross':>12}  same")
    for position_id in sorted(calm, key=lambda name: (int(name[1:].split("-")[0]), name)):
        one = calm[position_id]
        exits = ", ".join(
            f"{fill['leg']} {fill['quantity']} at {fill['price']}" for fill in one["fills"] if fill["leg"] != "entry"
        )
        same = "yes" if killed.get(position_id) == one else "NO"
        entry, gross = str(one["entry_price"]), str(one["realized_pnl"])
        say(f"{position_id:10} {one['side']:6} {entry:>10} {exits or one['phase']:44} {gross:>12}  {same}")
    say(f"{len(calm)} positions, {len(differences)} differences")
    for difference in differences[:50]:
        say(f"  {difference}")
