"""A failing run made small: fewer troubles, crashes and prices, while the same promise still breaks.

Every candidate is a run of its own, played from its options; nothing is guessed. What is left is printed with its
trace.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tests.simulation.campaign import BrokenPromise, Options, run, story_of, troubles_of

MOST_RUNS = 400


def failure_of(options: Options, folder: Path) -> BrokenPromise | None:
    """The promise that this run breaks, None when it keeps them all."""
    try:
        run(options, folder)
    except BrokenPromise as error:
        return error
    return None


def shrink(failure: BrokenPromise, folder: Path) -> BrokenPromise:
    """The same promise broken by as little as possible, within a bounded number of runs."""
    best = failure
    left = MOST_RUNS

    def still(options: Options) -> bool:
        nonlocal best, left
        left -= 1
        found = failure_of(options, folder) if left > 0 else None
        if found is None or found.invariant != failure.invariant:
            return False
        best = found
        return True

    options = failure.options
    places = options.keep if options.keep is not None else tuple(range(_drawn(options)))
    if places:
        options = replace(options, keep=_fewer(places, lambda kept: still(replace(options, keep=kept))))
    if options.crashes:
        small = _fewer(options.crashes, lambda kept: still(replace(options, crashes=kept)))
        options = replace(options, crashes=small)
    ticks = len(story_of(options).prices)
    for step in (16, 8, 4, 2, 1):
        while ticks > step and still(replace(options, ticks=ticks - step)):
            ticks -= step
            options = replace(options, ticks=ticks)
    return best


def _drawn(options: Options) -> int:
    return len(troubles_of(replace(options, keep=None, crashes=())))


def _fewer(things: Sequence[int], still: Callable[[tuple[int, ...]], bool]) -> tuple[int, ...]:
    """The smallest part found that still breaks it: halves first, then one by one."""
    kept = tuple(things)
    size = max(1, len(kept) // 2)
    while size:
        at = 0
        while at < len(kept):
            fewer = kept[:at] + kept[at + size :]
            if still(fewer):
                kept = fewer
            else:
                at += size
        size //= 2
    return kept


def told(failure: BrokenPromise) -> str:
    """A failure as a person reads it: what broke, what it took, what happened, and how to see it again."""
    options = failure.options
    lines = [f"{failure.invariant}: {failure.why}", ""]
    story = story_of(options)
    lines.append(f"story    {story.name}, {story.side.value}, prices {', '.join(map(str, story.prices))}")
    lines.append(f"plan     {dict(story.body)}")
    lines += [f"trouble  {trouble}" for trouble in troubles_of(options)] or ["trouble  none"]
    lines += ["", *failure.trace, "", f"replay   ./scripts/simulate --replay '{options}'"]
    return "\n".join(lines)
