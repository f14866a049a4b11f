"""Every measurement of scripts/bench in miniature: its work is done, its rows can be read. No figure decides."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts import bench_document, bench_main, bench_text
from scripts.bench_row import Result, Row, Wrong, check, percentile

ROOT = Path(__file__).resolve().parents[2]
MEASUREMENTS = tuple(bench_text.SECTIONS)


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.parametrize("name", MEASUREMENTS)
def test_a_measurement_runs_and_checks_its_own_work(name: str, tmp_path: Path) -> None:
    """In a fresh process, as the script does it: a row at least, each with its figure, and the bars as a yes or no."""
    document = tmp_path / "BENCHMARKS.md"
    words = [sys.executable, str(ROOT / "scripts" / "bench_main.py"), name, "--quick", "--write"]
    done = subprocess.run(
        [*words, "--document", str(document)], check=False, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = Result.of_data(bench_document.read(document)["results"][name])
    assert result.quick
    assert result.rows
    assert all(row.what and row.measured for row in result.rows)
    assert any(row.held is not None for row in result.rows)
    assert all(row.bar for row in result.rows if row.held is not None)
    assert all(row.measured in document.read_text() for row in result.rows)


def test_every_measurement_has_its_words_and_its_hot_path() -> None:
    """A section in the document, something to run and something to profile."""
    for name in MEASUREMENTS:
        module: Any = importlib.import_module(f"scripts.bench_{name}")
        assert callable(module.run)
        assert callable(module.hot)
        title, words = bench_text.SECTIONS[name]
        assert title
        assert words.endswith(".")


def test_a_run_of_one_leaves_the_figures_of_the_others(tmp_path: Path) -> None:
    """The document keeps what it had."""
    document = tmp_path / "BENCHMARKS.md"
    first = Result(name="ticks", rows=(Row(what="a", measured="1 --> 2", ratio="1×", bar="≥ 1", held=True),))
    second = Result(name="boot", rows=(Row(what="b", measured="3 | 4", bar="≤ 2", held=False),), notes=("a note",))
    bench_document.write(document, [first], {"cores": "2"}, {"Python": "3.11"})
    bench_document.write(document, [second], {"cores": "2"}, {"Python": "3.11"}, {"boot": "a profile"})
    text = document.read_text()
    for words in ("1 -", "3 \\| 4", "**no**", "a note", "a profile", "cores 2", "Python 3.11"):
        assert words in text
    assert bench_document.draw(bench_document.read(document)) == text


def test_work_that_was_not_done_is_no_figure() -> None:
    """A failed check raises, and the script then exits 1."""
    check(True, "fine")
    with pytest.raises(Wrong, match="nothing was saved"):
        check(False, "nothing was saved")


@pytest.mark.parametrize("words", [["nonsense"], ["--profile", "nonsense"], ["soak", "--minutes", "0"], ["--what"]])
def test_wrong_options_exit_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """And say why."""
    with pytest.raises(SystemExit) as ended:
        bench_main.main(words)
    assert ended.value.code == 2
    assert "error" in capsys.readouterr().err


def test_the_list_names_every_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing runs."""
    assert bench_main.main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(MEASUREMENTS)


def test_a_percentile_is_a_value_that_was_measured() -> None:
    """Nearest rank."""
    values = [float(number) for number in range(1, 101)]
    assert percentile(values, 50) == 50
    assert percentile(values, 99) == 99
    assert percentile([7.0], 99) == 7
