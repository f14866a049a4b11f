"""Tables for people. Programs read `--json`."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

# Into a file or a pipe, a table keeps its columns instead of being squeezed into 80 characters.
_PIPE_WIDTH: Final = 200

_SHOWN: Final = (
    *("id", "account", "symbol", "side", "phase", "quantity", "remaining", "entry_price", "stop_price", "stop_reason"),
    *("trailing_stop_active", "peak_price", "last_price", "unrealized_pnl", "realized_pnl", "fees", "net_pnl"),
    *("protected", "dust", "version", "epoch", "opened_at", "updated_at", "closed_at", "close_reason"),
)


def console() -> Console:
    """Where tables go."""
    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)


def print_json(value: Any) -> None:
    """For programs."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A plain table. Cells are text, never markup: a tag may hold brackets."""
    grid = Table(
        title=title, title_justify="left", box=None, pad_edge=False, header_style="bold", show_header=any(columns)
    )
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*(cell if isinstance(cell, Text) else Text(_text(cell)) for cell in row))
    console().print(grid)


def positions_table(positions: Sequence[Mapping[str, Any]]) -> None:
    """One line for each position."""
    columns = (
        "id",
        "symbol",
        "side",
        "phase",
        "remaining",
        "entry",
        "stop",
        "targets",
        "peak",
        "last",
        "net",
        "open P/L",
        "safe",
    )
    table(None, columns, (_row(position) for position in positions))


def _row(position: Mapping[str, Any]) -> tuple[Any, ...]:
    stop = position["stop_price"]
    hit = " ".join(f"TP{target['number']}{'✓' if target['hit'] else ''}" for target in position["targets"] or ())
    return (
        position["id"],
        position["symbol"],
        position["side"],
        _phase(position["phase"]),
        f"{_text(position['remaining'])}/{_text(position['quantity'])}",
        position["entry_price"],
        None if stop is None else f"{stop} {position['stop_reason']}",
        hit,
        position["peak_price"],
        position["last_price"],
        position["net_pnl"],
        position["unrealized_pnl"],
        _safe(position),
    )


def _phase(phase: str) -> Text:
    styles = {"runner": "green", "quarantined": "bold red", "closing": "yellow", "opening": "yellow"}
    return Text(phase, styles.get(phase, ""))


def _safe(position: Mapping[str, Any]) -> Text:
    """Whether a stop of ours was read back on the exchange and covers what remains."""
    if position["phase"] in ("closed", "opening"):
        return Text("-")
    return Text("yes", "green") if position["protected"] else Text("NO", "bold red")


def position_tables(position: Mapping[str, Any], title: str | None = None) -> None:
    """Everything of one position."""
    table(title, ("", ""), ((name.replace("_", " "), position[name]) for name in _SHOWN))
    if position["targets"]:
        names = ("number", "price", "quantity", "hit", "filled")
        table("\ntargets", names, ([target[name] for name in names] for target in position["targets"]))
    if position["resident_stop"]:
        resident = position["resident_stop"]
        table("\nstop on the exchange", tuple(resident), [tuple(resident.values())])
    if position["pending"]:
        table("\nunder way", tuple(position["pending"][0]), [tuple(item.values()) for item in position["pending"]])
    if position["fills"]:
        table("\nfills", tuple(position["fills"][0]), [tuple(fill.values()) for fill in position["fills"]])


def events_table(events: Sequence[Mapping[str, Any]]) -> None:
    """The audit trail."""
    rows = []
    for event in events:
        fields = event.get("fields")
        rest = fields if isinstance(fields, Mapping) else {k: v for k, v in event.items() if k not in ("at", "name")}
        rows.append(
            (event.get("at"), event.get("name"), "  ".join(f"{key}={_text(value)}" for key, value in rest.items()))
        )
    table(None, ("at", "event", ""), rows)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
