"""docs/BENCHMARKS.md: the table, the machine, a section for each measurement.

The last results are kept in the document itself, as data in a comment at its end, so that a run of some measurements
leaves the figures of the others as they were.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scripts.bench_row import Result, Row
from scripts.bench_text import HEAD, RERUN, SECTIONS

_DATA = "<!-- results, from which this page is drawn: "
COLUMNS = ("what", "measured", "against", "ratio", "bar", "held")


def read(path: Path) -> dict[str, Any]:
    """What the document holds already; nothing where there is none."""
    if not path.exists():
        return {"results": {}, "profiles": {}, "machine": {}, "versions": {}}
    text = path.read_text(encoding="utf-8")
    _, found, rest = text.partition(_DATA)
    if not found:
        return {"results": {}, "profiles": {}, "machine": {}, "versions": {}}
    data: dict[str, Any] = json.loads(rest.rpartition(" -->")[0])
    return data


def write(
    path: Path,
    results: Iterable[Result],
    machine: Mapping[str, str],
    versions: Mapping[str, str],
    profiles: Mapping[str, str] | None = None,
) -> None:
    """Put these results among those the document has, and draw it anew."""
    data = read(path)
    data["machine"], data["versions"] = dict(machine), dict(versions)
    data["profiles"] = {**data["profiles"], **(profiles or {})}
    data["results"].update({result.name: result.as_data() for result in results})
    path.parent.mkdir(exist_ok=True)
    path.write_text(draw(data), encoding="utf-8")


def draw(data: Mapping[str, Any]) -> str:
    """The whole document."""
    results = {name: Result.of_data(body) for name, body in data["results"].items()}
    known = [results[name] for name in SECTIONS if name in results]
    parts = [HEAD, RERUN, "## All bars", _summary(known), "## Where", _facts(data["machine"]), _facts(data["versions"])]
    for result in known:
        title, words = SECTIONS[result.name]
        parts += [f"## {title}", words, table(result.rows)]
        notes = [*result.notes, f"{result.date}, commit {result.commit}, {result.took_seconds:.0f} s"]
        if result.quick:
            notes.append("**in miniature (`--quick`): these figures say nothing**")
        parts.append("\n".join(f"- {note}" for note in notes))
        profile = data["profiles"].get(result.name)
        if profile:
            parts.append(f"Where the time goes (`--profile {result.name}`):\n\n```\n{profile}\n```")
    kept = json.dumps(data, ensure_ascii=False, sort_keys=True).replace("-->", "-- >")
    return "\n\n".join(parts) + f"\n\n{_DATA}{kept} -->\n"


def _summary(results: Iterable[Result]) -> str:
    barred = [row for result in results for row in result.rows if row.held is not None]
    return table(barred) if barred else "Nothing has been measured yet."


def _facts(facts: Mapping[str, str]) -> str:
    return " · ".join(f"{name} {value}" for name, value in facts.items())


def cells(row: Row) -> tuple[str, ...]:
    """One row's words, in the order of the columns."""
    held = "" if row.held is None else "yes" if row.held else "**no**"
    return (row.what, row.measured, row.against, row.ratio, row.bar, held)


def table(rows: Iterable[Row]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells(row)) + " |" for row in rows]
    return "\n".join(lines)


def plain_table(rows: Iterable[Row]) -> str:
    """The same for a terminal."""
    every = [COLUMNS, *(tuple(cell.replace("**", "") for cell in cells(row)) for row in rows)]
    widths = [max(len(line[column]) for line in every) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in every
    )
