"""Lost, late and doubled messages, store outages, crashes, takeovers, a random market: the promises hold in all."""

from pathlib import Path

import pytest

from tests.simulation.weather import RESTING_PLANS, Weather


@pytest.mark.parametrize("seed", range(150))
def test_no_weather_breaks_a_promise(tmp_path: Path, seed: int) -> None:
    """After every turn nothing closed beyond the plan; in the calm the books agree and what is held is protected."""
    weather = Weather(tmp_path, seed)
    weather.check_end(weather.play())


@pytest.mark.parametrize("seed", range(100))
def test_no_weather_breaks_a_promise_about_what_rests(tmp_path: Path, seed: int) -> None:
    """Limit orders in the book, filled whenever, cancelled by hand now and then: no leg closes more than planned."""
    weather = Weather(tmp_path, seed, RESTING_PLANS)
    weather.check_end(weather.play())
