"""The failure log: what failed is on disk, bounded, private, and readable after a crash tore its last line."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from persistence.failure_log import SETTLED, SPILLED, Failure, FailureLog, GrewFrom, read_failures

NOW = 1_700_000_000_123_456


def a_spill(position_id: str = "p", change: int = 1, **fields: Any) -> Failure:
    """A spilled state."""
    given: dict[str, Any] = {
        "kind": SPILLED,
        "shard": "s",
        "epoch": 3,
        "error": "no answer",
        "position_id": position_id,
        "change": change,
        "schema": 1,
        "grew_from": GrewFrom(epoch=3, version=2, write_id="w"),
        "state": {"change": change},
    }
    return Failure(**(given | fields))


def a_log(tmp_path: Path, **settings: Any) -> FailureLog:
    """A log in a directory that does not exist yet."""
    return FailureLog(tmp_path / "data" / "failures.jsonl", lambda: NOW, **settings)


def test_a_line_says_when_what_and_from_where(tmp_path: Path) -> None:
    """Lines are JSON, timed in RFC 3339 UTC, and come back as they were."""
    log = a_log(tmp_path)
    log.append([a_spill()])
    line = json.loads((tmp_path / "data" / "failures.jsonl").read_text())
    assert line["at"] == "2023-11-14T22:13:20.123456Z"
    assert line["grew_from"] == {"epoch": 3, "version": 2, "write_id": "w"}
    assert list(log.read()) == [a_spill(at=line["at"])]


def test_the_latest_spill_of_each_position_counts(tmp_path: Path) -> None:
    """Spills are found by shard and position, the last one each."""
    log = a_log(tmp_path)
    log.append([a_spill(change=1), a_spill("q", 5), a_spill("x", 9, shard="other")])
    log.append([a_spill(change=2), a_spill(kind="snapshot.conflict", change=7)])
    assert {name: spill.change for name, spill in log.spills("s").items()} == {"p": 2, "q": 5}


def test_a_spill_that_was_saved_after_all_is_taken_back(tmp_path: Path) -> None:
    """A position whose state was saved later has no spill any more."""
    log = a_log(tmp_path)
    log.append([a_spill(), a_spill("q")])
    log.append([Failure(kind=SETTLED, shard="s", epoch=3, error="", position_id="p")])
    assert set(log.spills("s")) == {"q"}


def test_a_torn_last_line_is_passed_over_and_does_not_eat_the_next(tmp_path: Path) -> None:
    """A crash in the middle of a line costs that line only."""
    log = a_log(tmp_path)
    log.append([a_spill(change=1)])
    path = tmp_path / "data" / "failures.jsonl"
    path.write_bytes(path.read_bytes() + b'{"kind": "snapshot.spil')
    assert [failure.change for failure in log.read()] == [1]
    log.append([a_spill(change=2)])
    assert [failure.change for failure in log.read()] == [1, 2]


def test_rubbish_in_the_log_is_passed_over(tmp_path: Path) -> None:
    """Lines of another shape are evidence for a person, not for a replay."""
    log = a_log(tmp_path)
    log.append([a_spill()])
    path = tmp_path / "data" / "failures.jsonl"
    path.write_bytes(b'\xff\xfe\n[1]\n{"kind": 1, "more": 2}\n"x"\n' + path.read_bytes())
    assert [failure.change for failure in log.read()] == [1]


def test_the_log_is_bounded_and_keeps_one_old_file(tmp_path: Path) -> None:
    """At its limit the file becomes the old one, and both are read."""
    log = a_log(tmp_path, max_bytes=2000)
    for change in range(50):
        log.append([a_spill(change=change)])
    sizes = [path.stat().st_size for path in (tmp_path / "data").iterdir()]
    assert len(sizes) == 2
    assert max(sizes) <= 2000
    changes = [failure.change for failure in log.read()]
    assert changes == list(range(changes[0], 50))


def test_only_the_owner_may_read_the_log(tmp_path: Path) -> None:
    """States of positions are nobody else's business: 0600."""
    a_log(tmp_path).append([a_spill()])
    assert stat.S_IMODE((tmp_path / "data" / "failures.jsonl").stat().st_mode) == 0o600


def test_a_state_that_json_cannot_hold_still_leaves_its_trace(tmp_path: Path) -> None:
    """A strange value is described instead of raising: the failure is what matters."""
    log = a_log(tmp_path)
    log.append([a_spill(state={"raw": b"\x00"})])
    assert log.spills("s")["p"].state == {"raw": "b'\\x00'"}


def test_a_reader_sees_both_files_and_needs_neither(tmp_path: Path) -> None:
    """Nothing there is nothing failed; the rotated file is read first; a torn line is passed over."""
    path = tmp_path / "data" / "failures.jsonl"
    assert list(read_failures(path)) == []
    log = a_log(tmp_path)
    log.append([a_spill(change=1)])
    path.rename(path.with_name("failures.jsonl.1"))
    log.append([a_spill(change=2)])
    path.write_bytes(path.read_bytes() + b'{"kind": "snapshot.sp')
    assert [failure.change for failure in read_failures(path)] == [1, 2]


def test_a_log_that_is_rotated_while_it_is_read_is_read_once(tmp_path: Path) -> None:
    """The present file may be the old one a moment later: its lines are not told twice."""
    path = tmp_path / "data" / "failures.jsonl"
    a_log(tmp_path).append([a_spill(change=1)])
    path.with_name("failures.jsonl.1").hardlink_to(path)
    assert [failure.change for failure in read_failures(path)] == [1]


def test_fields_of_a_newer_release_are_passed_over(tmp_path: Path) -> None:
    """Its spills still count after a step back."""
    log = a_log(tmp_path)
    log.append([a_spill()])
    path = tmp_path / "data" / "failures.jsonl"
    path.write_text(json.dumps({**json.loads(path.read_text()), "mood": "bad"}) + "\n")
    assert set(log.spills("s")) == {"p"}


def test_lines_without_what_every_line_has_are_no_lines(tmp_path: Path) -> None:
    """A kind, a shard and an error are text, or it is not ours."""
    path = tmp_path / "failures.jsonl"
    path.write_text('{"kind": 1, "shard": "s", "epoch": 1, "error": ""}\n{"kind": "x"}\n{"shard": "s", "error": ""}\n')
    assert list(read_failures(path)) == []


def test_every_line_is_flushed_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that only the page cache has is gone with the power."""
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    log = a_log(tmp_path)
    log.append([a_spill()])
    first = len(flushed)
    log.append([a_spill(change=2), a_spill(change=3)])
    assert first >= 1
    assert len(flushed) > first
