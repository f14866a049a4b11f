"""A picture of a replay: the prices, the entry, every exit, and the level of the stop that closed it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from actors.domain.path import Bar, Rows
from actors.domain.replay import parse_moment

# Looked up by name: matplotlib is an extra, and types differ between having it and not.
matplotlib: Any = import_module("matplotlib")
# There may be no display.
matplotlib.use("Agg")
pyplot: Any = import_module("matplotlib.pyplot")
dates: Any = import_module("matplotlib.dates")

_COLOURS: Final = {"take_profit": "#1a9850", "stop_loss": "#d73027", "trailing_stop": "#f46d43", "breakeven": "#4575b4"}
_OTHER: Final = "#762a83"
_STOPS: Final = ("stop_loss", "trailing_stop", "breakeven", "target_stop")
# A margin on both sides of the trade, in parts of its length, and at least this many rows.
_MARGIN: Final = 0.15
_LEAST_ROWS: Final = 20


def draw_replay(target: Path, rows: Rows, outcome: Mapping[str, Any], *, title: str) -> None:
    """Write a PNG. Floats are good enough for pixels. Raises OSError."""
    shown = _window(rows, outcome)
    figure, axes = pyplot.subplots(figsize=(11, 5.5), dpi=110, layout="constrained")
    moments = [_moment(row.at) for row in shown]
    prices = [float(row.close if isinstance(row, Bar) else row.price) for row in shown]
    if isinstance(shown[0], Bar):
        lows = [float(row.low) for row in shown if isinstance(row, Bar)]
        highs = [float(row.high) for row in shown if isinstance(row, Bar)]
        axes.fill_between(moments, lows, highs, color="#b8c4d0", alpha=0.6, linewidth=0, label="low to high")
    axes.plot(moments, prices, color="#33475b", linewidth=1, label="price")
    entry = outcome["entry"]
    axes.scatter(*_point(entry), marker="D", s=60, color="#111111", zorder=5, label=f"entry {entry['price']}")
    axes.axhline(float(entry["price"]), color="#111111", linewidth=0.7, linestyle=":")
    for leg in outcome["exits"]:
        colour = _COLOURS.get(leg["reason"], _OTHER)
        label = f"{leg['leg']} {leg['reason'].replace('_', ' ')} {leg['price']} × {leg['quantity']}"
        axes.scatter(*_point(leg), marker="v", s=80, color=colour, zorder=6, label=label)
        if leg["reason"] in _STOPS:
            axes.axhline(float(leg["price"]), color=colour, linewidth=1, linestyle="--", label="stop")
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(axes.xaxis.get_major_locator(), tz=UTC))
    axes.set_title(f"{title}: realized {outcome['realized_pnl']}, remaining {outcome['remaining']}", loc="left")
    axes.legend(loc="best", fontsize=8, framealpha=0.9)
    axes.grid(alpha=0.25)
    axes.ticklabel_format(axis="y", useOffset=False, style="plain")
    try:
        figure.savefig(target, format="png")
    finally:
        pyplot.close(figure)


def _window(rows: Rows, outcome: Mapping[str, Any]) -> Rows:
    """The rows of the trade and a little around them; all that follow while something remains."""
    start = parse_moment(outcome["entry"]["at"])
    exits: Sequence[Mapping[str, Any]] = outcome["exits"]
    end = rows[-1].at if outcome["remaining"] != "0" or not exits else parse_moment(exits[-1]["at"])
    first = next((index for index, row in enumerate(rows) if row.at >= start), 0)
    last = next((index for index, row in enumerate(rows) if row.at > end), len(rows))
    margin = max(_LEAST_ROWS, int((last - first) * _MARGIN))
    return rows[max(0, first - margin) : last + margin]


def _point(leg: Mapping[str, Any]) -> tuple[datetime, float]:
    return _moment(parse_moment(leg["at"])), float(leg["price"])


def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(at / 1_000_000, UTC)
