"""Real faults, short: each mode of `./scripts/crash --faults` with a few of its faults, and judges that can fail."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.crash_aof import cut, transactions
from scripts.crash_faults import redis_faults
from scripts.crash_pauses import Pauses, play_pauses
from scripts.crash_proof import BEGIN, END, PROOF, with_row
from scripts.crash_real import Length, run_faults
from scripts.crash_stand import Stand
from scripts.crash_trial import Fault, nothing, play

pytestmark = [pytest.mark.crash, pytest.mark.slow]

BRIEF = Length(fault_seconds=(1.0,), network_seconds=(3.0,))
PAST_THE_LEASE = Length(fault_seconds=(9.0,))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path, as sockets want it."""
    found = Path(tempfile.mkdtemp(prefix="ek-"))
    yield found
    shutil.rmtree(found)


def holds(mode: str, length: Length, folder: Path, *only: str) -> None:
    """Nothing is wrong after these faults of a mode."""
    told: list[str] = []
    result = run_faults(mode, length, folder, seed=1, say=told.append, only=only)
    assert result.wrong == [], "\n".join(told)
    assert all(any(line.startswith(name) for line in told) for name in only)


def test_redis_fails_in_every_way(folder: Path) -> None:
    """Full, read-only, misconfigured, loading, its file failing: no part twice, no stop late, and all settles."""
    holds("redis", BRIEF, folder, "maxmemory", "READONLY", "MISCONF", "failing AOF", "loading")


def test_redis_is_gone_for_longer_than_the_lease(folder: Path) -> None:
    """The trailing stop is closed all the same, the part waits, and a higher epoch takes it up."""
    holds("redis", PAST_THE_LEASE, folder, "refused")


def test_the_network_to_redis_is_bad(folder: Path) -> None:
    """Loss and delay, and connections cut and torn anywhere in what they carry."""
    holds("network", BRIEF, folder, "loss and delay", "cut and torn", "silence")


def test_the_disk_is_full_and_read_only(folder: Path) -> None:
    """Not one byte fits, while stops go on; a start on a directory that cannot be written says so.

    Those who are not root may mount no small disk, and limit the size of files instead; root does both.
    """
    holds("disk", BRIEF, folder, *(["disk full"] if os.geteuid() == 0 else []), "no file may grow")


def test_memory_runs_out(folder: Path) -> None:
    """The keeper is killed while it hoards, its Redis ends itself: both come back to what they knew."""
    holds("memory", BRIEF, folder)


def test_clocks_are_set(folder: Path) -> None:
    """The keeper's wall clock a day off and an hour back, the lease's end moved by an hour."""
    holds("clock", BRIEF, folder, "wall clock -1 h", "wall clock +1 day", "Redis's clock +1 h")


def test_an_append_only_file_cut_anywhere_is_a_whole_one(folder: Path) -> None:
    """Edges and a sample of the bytes of the last transactions; and the comparison sees what is not so."""
    stand = Stand(folder)
    try:
        stand.start()
        play(stand, redis_faults(0.5)[1], 0)
    finally:
        stand.stop()
    found = cut(stand, last=3, every=80, seed=1)
    assert found.wrong == []
    assert found.transactions == 3
    assert found.booted > 20
    # A version that was acknowledged and is nowhere, and states that are others than those acknowledged.
    lines = stand.record.read_text().splitlines()
    stand.record.write_text("\n".join([*lines, '{"size": 1, "saved": {"f0-btc": [999, 1, "x", "y"]}}']))
    for number in range(2):
        shutil.rmtree(folder / f"cut-{number}")
    planted = cut(stand, last=1, every=10_000, seed=1)
    assert any("acknowledged was 999" in wrong for wrong in planted.wrong)


def test_transactions_end_where_they_are_whole() -> None:
    """A command by itself ends by itself, those of a transaction with its EXEC."""
    words = [b"*1\r\n$5\r\nMULTI\r\n", b"*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n", b"*1\r\n$4\r\nEXEC\r\n"]
    whole = b"".join(words)
    assert transactions(words[1] + whole + words[1]) == [
        len(words[1]),
        len(words[1] + whole),
        len(words[1] + whole + words[1]),
    ]


def test_two_keepers_are_killed_and_stopped(folder: Path) -> None:
    """An owner frozen past its lease is taken over from; Redis killed; a short pause of the owner."""
    told: list[str] = []
    kinds = ("freeze keeper", "redis", "pause keeper")
    pauses = Pauses(strikes=3, seconds_each=4.0, speed=3600)
    done, wrong = play_pauses(pauses, folder, seed=2, say=told.append, kinds=kinds)
    assert wrong == [], "\n".join([done, *told])


def test_a_trial_can_fail(folder: Path) -> None:
    """A fault that is said to refuse every save, and does nothing, is found; and the wall clock is the file's."""
    stand = Stand(folder)
    try:
        stand.clock.step(-40 * 365 * 86_400)
        stand.start()
        assert '"timestamp":"19' in stand.log_since(0)
        stand.clock.step(0)
        row = play(stand, Fault(name="none", seconds=0.5, begin=nothing, causes=("refused",)), 0)
    finally:
        stand.stop()
    assert any("of btc" in wrong for wrong in row.wrong)
    assert "it was not called refused" in row.wrong


def test_the_page_takes_one_row_for_each_mode() -> None:
    """A later run replaces the former one of its mode, and nothing else of the page."""
    page = PROOF.read_text(encoding="utf-8")
    cells = ("2000-01-01", "c0ffee", "1 s", "much", "nothing wrong", "`again`")
    once = with_row(with_row(page, "redis", cells), "aof", cells)
    assert once.count("| redis |") == once.count("| aof |") == 1
    assert with_row(once, "aof", cells) == once
    assert once.partition(BEGIN)[0] == page.partition(BEGIN)[0]
    assert once.partition(END)[2] == page.partition(END)[2]
    with pytest.raises(ValueError, match="no place"):
        with_row("a page", "aof", cells)
