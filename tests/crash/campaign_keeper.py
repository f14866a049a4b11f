"""The service as a campaign runs it: `campaign_keeper.py CLOCK-FILE RECORD AOF run --config …`.

The same program, with four things that no configuration offers. Its wall clock is off by what the file says: every
reading of it in this process, those of the client library that signs requests included. SIGUSR1 makes it hoard memory,
as a leak would. What each save acknowledged is written to RECORD with the size that the append-only file AOF has by
then (where they are not `-`). And its own budget of requests is as good as endless: a campaign opens in a minute what
people open in a day, and what is tried is not the patience of the exchange.
"""

import hashlib
import json
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.crash_clock import ClockFile

_HOARDED_AT_ONCE = 16 * 1024 * 1024


def bend_time(clock: ClockFile) -> None:
    """Replace the wall clock of this process; the monotonic ones stay as they are."""
    seconds, nanoseconds = time.time, time.time_ns

    def bent_seconds() -> float:
        return seconds() + clock.micros() / 1_000_000

    def bent_nanoseconds() -> int:
        return nanoseconds() + clock.micros() * 1000

    time.time, time.time_ns = bent_seconds, bent_nanoseconds


def hoard(_number: int, _frame: FrameType | None) -> None:
    """Take memory, more and more of it, until somebody puts an end to that."""

    def grow() -> None:
        hoarded = []
        while True:
            hoarded.append(b"x" * _HOARDED_AT_ONCE)
            time.sleep(0.005)

    threading.Thread(target=grow, daemon=True).start()


def digest(state: Any) -> str:
    """Of a snapshot's whole state."""
    return hashlib.sha256(json.dumps(state, sort_keys=True, default=repr).encode()).hexdigest()


def keep_record(record: Path, aof: Path) -> None:
    """Write down what every save acknowledges, before anybody is told of it."""
    from persistence.commit import CommittingStore  # noqa: PLC0415

    save = CommittingStore.save

    def recording(store: CommittingStore, *words: Any, **named: Any) -> Any:
        outcome = save(store, *words, **named)
        saved = {
            name: [snapshot.version, snapshot.epoch, snapshot.write_id, digest(snapshot.state)]
            for name, snapshot in outcome.saved.items()
        }
        with record.open("a") as file:
            file.write(json.dumps({"size": aof.stat().st_size, "saved": saved}) + "\n")
        return outcome

    CommittingStore.save = recording  # type: ignore[method-assign,assignment]


def main() -> None:
    """Prepare, and run."""
    bend_time(ClockFile(Path(sys.argv[1])))
    signal.signal(signal.SIGUSR1, hoard)
    # Only now, so that whoever binds a clock when it is imported binds this one.
    from actors.venues.ccxt.binanceusdm import BinanceUsdm  # noqa: PLC0415
    from service.cli import main as run  # noqa: PLC0415

    BinanceUsdm.weight_per_minute = 1_000_000.0
    if sys.argv[2] != "-":
        keep_record(Path(sys.argv[2]), Path(sys.argv[3]))
    run(sys.argv[4:])


if __name__ == "__main__":
    main()
