"""A market that a test moves while services trade in it: replay files whose prices are stamped with the present."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

# At this speed a price that is stamped with the present is due as soon as it is written.
SPEED = "600x"
_BEAT_SECONDS = 0.5


class LiveMarket:
    """One file for each symbol; each repeats its price twice a second, so that the feed stays fresh."""

    def __init__(self, folder: Path, prices: Mapping[str, str]) -> None:
        """Every symbol's first price has the same time, so that all of them have one from the start."""
        self.files = {symbol: folder / f"{symbol[:3]}.csv" for symbol in prices}
        self._prices = dict(prices)
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        now = _now()
        for symbol, file in self.files.items():
            file.write_text("timestamp,price\n", encoding="utf-8")
            self._write(symbol, now)

    def move(self, symbol: str, *prices: str) -> None:
        """These prices one after the other, now; the last one stays."""
        with self._lock:
            for price in prices:
                self._prices[symbol] = price
                self._write(symbol, _now())

    def start(self) -> None:
        """Begin to repeat."""
        self._thread.start()

    def stop(self) -> None:
        """Repeat no more."""
        self._ended.set()
        self._thread.join()

    @property
    def replay(self) -> str:
        """The files as a configuration names them."""
        files = ", ".join(f'"{symbol}" = "{file}"' for symbol, file in self.files.items())
        return f'speed = "{SPEED}"\nreplay = {{ {files} }}\n'

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT_SECONDS):
            with self._lock:
                for symbol in self.files:
                    self._write(symbol, _now())

    def _write(self, symbol: str, at: str) -> None:
        with self.files[symbol].open("a", encoding="utf-8") as file:
            file.write(f"{at},{self._prices[symbol]}\n")


@contextmanager
def live_market(folder: Path, prices: Mapping[str, str]) -> Iterator[LiveMarket]:
    """A market at work; its thread ends with the block."""
    market = LiveMarket(folder, prices)
    market.start()
    try:
        yield market
    finally:
        market.stop()


def _now() -> str:
    return datetime.now(UTC).isoformat(sep=" ", timespec="microseconds").replace("+00:00", "")
