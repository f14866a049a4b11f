"""What people write: configuration, plan files, price files, words on the command line. Rubbish ends in a clear error.

No traceback, never: an exit status of 1 or 2 and a message, or what was asked for. The files are what was right with
a piece replaced, taken out or made up, so that most of them are read to the end.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from actors.domain.errors import PlanRefused
from actors.domain.plans import RUNNER, parse_plan, plan_to_dict
from service.cli import main
from service.config import Config
from service.config_load import load_config
from service.config_reader import ConfigError
from tests.input.damage import damaged_states, values
from tests.input.effort import effort

CONFIG = """
data_dir = "data"
[redis]
url = "redis://127.0.0.1:6379/0"
[http]
host = "127.0.0.1"
port = 8321
token = "0123456789abcdef"
[webhooks]
secret = "0123456789abcdef"
[accounts.paper]
venue = "paper"
max_deviation_percent = "2"
resident_stop = { interval_seconds = 5, step_percent = "0.1" }
[accounts.paper.market]
random_walk = { "BTC/USDT:USDT" = { price = "60000", volatility = "0.8" } }
[accounts.main]
venue = "binanceusdm"
api_key = "k"
secret = "s"
[plans.tight]
stop = { percent = "0.5" }
trail = { percent = "0.4" }
"""
PIECES = [
    *(
        "true",
        "-1",
        "0",
        "1e400",
        "nan",
        "inf",
        '"x"',
        '""',
        "[]",
        "{}",
        "[[]]",
        "{ x = 1 }",
        "1979-05-27T07:32:00Z",
        "07:32:00",
    ),
    *(
        "9" * 400,
        '"' + "9" * 400 + '"',
        '"\\u0000"',
        "'redis://['",
        "'redis://:p@h:x/y'",
        '"/"',
        '"../.."',
        "0x7fff_ffff_ffff_ffff",
    ),
]
TICKS = "timestamp,price\n" + "".join(f"2022-01-01 00:00:{second:02},{60000 + 100 * second}\n" for second in range(30))
BARS = "timestamp,open,high,low,close,volume\n" + "".join(
    f"2022-01-01 00:{minute:02}:00,{60000 + minute},{60900 + minute},{59800 + minute},{60100 + minute},1\n"
    for minute in range(10)
)
CELLS = [
    "",
    " ",
    "x",
    "-1",
    "0",
    "1e400",
    "1e-400",
    "nan",
    "inf",
    "9" * 5000,
    "\x00",
    "\ufeff",
    '"',
    "2022-13-01",
    "-5,6",
    "\r",
]


@st.composite
def damaged_text(draw: st.DrawFn, text: str, pieces: list[str], marks: str) -> bytes:
    """The text with some of what stands between `marks` replaced, lines gone or twice, or bytes that are no text."""
    lines = text.splitlines()
    for _ in range(draw(st.integers(1, 3))):
        number = draw(st.integers(0, len(lines) - 1))
        line, how = lines[number], draw(st.sampled_from(["value", "value", "value", "remove", "double", "cut", "any"]))
        if how == "value":
            parts = line.split(marks)
            parts[draw(st.integers(0, len(parts) - 1))] = draw(st.sampled_from(pieces))
            lines[number] = marks.join(parts)
        elif how == "double":
            lines.insert(draw(st.integers(0, len(lines))), line)
        elif how == "cut":
            lines[number] = line[: draw(st.integers(0, len(line)))]
        else:
            lines[number] = draw(st.text(max_size=20)) if how == "any" else ""
    raw = "\n".join(lines).encode("utf-8", "surrogatepass")
    return draw(st.sampled_from([raw, raw, raw, raw + b"\xff", b"\xef\xbb\xbf" + raw, raw.replace(b"\n", b"\r\n")]))


def run(*words: str, files: Mapping[str, bytes] | None = None) -> Result:
    """One command in a folder of its own; its exit status is one of three, and what it says is no traceback."""
    runner = CliRunner(env={"EXITKEEPER_CONFIG": None, "EXITKEEPER_HTTP__PORT": "9"})
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, content in (files or {}).items():
            Path(name).write_bytes(content)
        result = runner.invoke(main, list(words))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert result.exit_code in (0, 1, 2)
    assert "Traceback" not in result.output
    assert result.exit_code == 0 or result.output.strip(), "it failed without a word"
    return result


def test_what_is_right_is_taken() -> None:
    """What the damage is done to is taken whole; else nothing would be read far enough to be tested."""
    words = ("replay", "data.csv", "--side", "long", "--entry-at", "2022-01-01T00:00:00Z", "--json", "--plan", "p.json")
    for prices in (TICKS, BARS):
        files = {"data.csv": prices.encode(), "p.json": json.dumps(PLAN).encode()}
        assert run(*words, files=files).exit_code == 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exitkeeper.toml"
        path.write_text(CONFIG)
        assert load_config(path, environment={}).plans["tight"]


@effort(250)
@given(raw=damaged_text(CONFIG, PIECES, " = ") | st.binary(max_size=100))
def test_any_configuration_is_read_or_every_fault_of_it_told(raw: bytes) -> None:
    """ConfigError, with a sentence for each fault."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exitkeeper.toml"
        path.write_bytes(raw)
        try:
            config = load_config(path, environment={})
        except ConfigError as error:
            assert str(error)
            assert "0123456789abcdef" not in str(error), "a secret is told"
        else:
            assert isinstance(config, Config)


@pytest.mark.parametrize("text", ['data_dir = "a\\u0000b"', '[http]\ntoken_file = "a\\u0000b"'])
@pytest.mark.parametrize("words", [("doctor",), ("snapshots", "list"), ("run",)])
def test_a_path_with_a_null_character_is_refused(text: str, words: tuple[str, ...]) -> None:
    """TOML can say it, no system takes it: it was a traceback."""
    result = run(*words, "--config", "e.toml", files={"e.toml": text.encode()})
    assert result.exit_code != 0
    assert "null character" in result.output


NAMES = [
    "REDIS__URL",
    "HTTP__PORT",
    "HTTP",
    "ACCOUNTS__PAPER__VENUE",
    "ACCOUNTS",
    "PLANS__X__STOP",
    "X",
    "__",
    "DATA_DIR",
    "HTTP____PORT",
]


@effort(150)
@given(
    settings=st.dictionaries(
        st.sampled_from(NAMES), st.sampled_from(PIECES) | st.text(st.characters(exclude_characters="\0")), max_size=3
    )
)
def test_any_environment_is_read_or_every_fault_of_it_told(settings: dict[str, str]) -> None:
    """The same for EXITKEEPER_*."""
    environment = {f"EXITKEEPER_{name}": value for name, value in settings.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exitkeeper.toml"
        path.write_text(CONFIG)
        try:
            load_config(path, environment=environment)
        except ConfigError as error:
            assert str(error)


PLAN: dict[str, Any] = {
    **RUNNER,
    "trail": {"percent": "1", "min_percent": "0.5", "max_percent": "2"},
    "trigger_by": {"stop": "mark", "targets": "bid_ask"},
    "time_limit_seconds": "60",
    "atr": "5",
}


@effort(400)
@given(body=damaged_states(PLAN) | values)
def test_any_plan_is_read_or_every_fault_of_it_told(body: Any) -> None:
    """And one that is read says the same again when it is written."""
    try:
        plan = parse_plan(body)
    except PlanRefused as refused:
        assert refused.faults
        assert all(fault.code and fault.message for fault in refused.faults)
    else:
        assert parse_plan(plan_to_dict(plan)) == plan


@effort(250)
@given(
    data=damaged_text(TICKS, CELLS, ",") | damaged_text(BARS, CELLS, ",") | st.binary(max_size=80),
    side=st.sampled_from(["long", "short"]),
    at=st.sampled_from(["2022-01-01T00:00:00Z", "2022-01-01T00:00:05Z", "0", "9999-12-31", "1640995203"]),
)
def test_any_price_file_is_replayed_or_refused(data: bytes, side: str, at: str) -> None:
    """`exitkeeper replay`."""
    words = ("replay", "data.csv", "--side", side, "--entry-at", at, "--json")
    result = run(*words, files={"data.csv": data})
    if result.exit_code == 0:
        assert set(json.loads(result.stdout)) >= {"entry", "exits", "remaining", "realized_pnl"}


@effort(250)
@given(
    raw=damaged_text(json.dumps(PLAN, indent=1), PIECES, ": ") | st.binary(max_size=80),
    name=st.sampled_from(["p.json", "p.toml"]),
)
def test_any_plan_file_is_taken_or_refused(raw: bytes, name: str) -> None:
    """`--plan FILE`."""
    words = ("replay", "data.csv", "--side", "long", "--entry-at", "2022-01-01T00:00:00Z", "--plan", name)
    run(*words, files={"data.csv": TICKS.encode(), name: raw})


WORDS = [
    *("open", "adopt", "positions", "show", "events", "close", "plan", "replay", "snapshots", "failures", "doctor"),
    *(
        "list",
        "verify",
        "--json",
        "--all",
        "--plan",
        "runner",
        "--account",
        "paper",
        "--side",
        "long",
        "short",
        "--yes",
    ),
    *("BTC/USDT:USDT", "0.01", "-1", "1e400", "nan", "p1", "--fraction", "--id", "--preview", "--quantity", "--config"),
    *(
        "exitkeeper.toml",
        "nowhere",
        "--data-dir",
        ".",
        "",
        "--",
        "-h",
        "--entry-at",
        "2022-01-01",
        "\udcff",
        "x" * 300,
    ),
]


@effort(300)
@given(words=st.lists(st.sampled_from(WORDS), max_size=7))
def test_any_words_are_understood_or_refused(words: list[str]) -> None:
    """`exitkeeper …`, with no service to be reached."""
    if not {"failures", "doctor", "snapshots"} & set(words[:1]):
        run(*words, files={"exitkeeper.toml": b'[accounts.paper]\nvenue = "paper"\n'})
