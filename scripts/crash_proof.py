"""Puts what a campaign of real faults found into docs/PROOF.md, in the table of its section."""

from collections.abc import Sequence
from pathlib import Path

PROOF = Path(__file__).resolve().parent.parent / "docs" / "PROOF.md"
BEGIN, END = "<!-- real: written by scripts/crash -->", "<!-- end of real -->"
_HEAD = (
    "| mode | date | commit | time | how much | found | again with |",
    "| --- | --- | --- | --- | --- | --- | --- |",
)


def with_row(page: str, mode: str, cells: Sequence[str]) -> str:
    """The page with this mode's row in place of its former one. Raises ValueError where the places are not marked."""
    before, begin, rest = page.partition(BEGIN)
    table, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PROOF} has no place for real faults: it needs the lines {BEGIN} and {END}")
    rows = {line.split("|")[1].strip(): line for line in table.splitlines() if line.startswith("| ")}
    rows = {name: line for name, line in rows.items() if name not in ("mode", "---")}
    rows[mode] = "| " + " | ".join([mode, *(cell.replace("|", "/") for cell in cells)]) + " |"
    return before + begin + "\n\n" + "\n".join([*_HEAD, *(rows[name] for name in sorted(rows))]) + "\n\n" + end + after


def write_proof(mode: str, cells: Sequence[str]) -> None:
    """Replace one row of the page."""
    PROOF.write_text(with_row(PROOF.read_text(encoding="utf-8"), mode, cells), encoding="utf-8")
