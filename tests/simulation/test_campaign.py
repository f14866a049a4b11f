"""The campaigns, at the size that every check runs them."""

from pathlib import Path

import pytest

from tests.simulation.campaign import Options, parse_options, run
from tests.simulation.stories import TOLD


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("story", [story.name for story in TOLD])
def test_a_story_without_trouble_keeps_every_promise(tmp_path: Path, story: str, lost: bool) -> None:
    """Also the promises hold where nothing goes wrong."""
    assert run(Options(seed=1, story=story, lost=lost), tmp_path).points > 60


def test_options_are_read_back_as_they_are_written() -> None:
    """What a failure prints is what replays it."""
    options = Options(seed=7, story="resting jump", lost=True, crashes=(3, 70), drawn=2, keep=(), ticks=4)
    assert parse_options(str(options)) == options
