"""The audit trail's lines: what a note of the domain looks like once it is saved, logged or streamed."""

from collections.abc import Mapping
from typing import Any

from actors.domain.events import Note


def line_of(note: Note, position_id: str) -> dict[str, Any]:
    """One line: its constant name, when (microseconds UTC), whose, and its fields as plain values."""
    return {"name": note.name, "at": note.at, "position": position_id, "fields": plain(note.fields)}


def plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Audit fields as plain values: decimals as strings without exponent, None left out."""
    plain: dict[str, Any] = {}
    for key, value in fields.items():
        if value is not None:
            plain[key] = value if isinstance(value, str | int | bool) else f"{value:f}"
    return plain
