"""The audit trail's lines: what a note of the domain looks like once it is saved, logged or streamed."""

from collections.abc import Mapping
from typing import Any

from actors.domain.events import Note

# A bool is an int. A tuple, because a union is taken apart anew at each look: this is done for every line.
_PLAIN = (str, int)


def line_of(note: Note, position_id: str) -> dict[str, Any]:
    """One line: its constant name, when (microseconds UTC), whose, and its fields as plain values."""
    return {"name": note.name, "at": note.at, "position": position_id, "fields": plain(note.fields)}


def plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Audit fields as plain values: decimals as strings without exponent, None left out."""
    return {
        key: value if isinstance(value, _PLAIN) else f"{value:f}" for key, value in fields.items() if value is not None
    }
