"""A loopback proxy between keeper and Redis that can be a bad network: slow, lossy, silent, cut.

It passes a stream on, so a lost packet is what TCP makes of one: the bytes after it wait too, until it has been sent
again after 200 ms, 400 ms, … A cut resets the connection in both directions, wherever in a request or reply that is.
"""

import random
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

_CHUNK = 1 << 16
_RETRANSMIT_SECONDS = 0.2
_LONGEST_RETRANSMIT_SECONDS = 3.2
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What happens to each chunk, with which chance; delays in seconds. `stalled`: nothing passes at all."""

    delay: float = 0.0
    jitter: float = 0.0
    lost: float = 0.0
    cut: float = 0.0
    torn: float = 0.0
    stalled: bool = False
    refused: bool = False


FINE = Weather()


class Proxy:
    """Listens on a port of its own; `weather` may change at any time."""

    def __init__(self, port: int, seed: int = 1) -> None:
        self._target = port
        self._chance = random.Random(seed)
        self.weather = FINE
        self.happened = {"chunks": 0, "lost": 0, "cut": 0, "torn": 0, "refused": 0}
        self._sockets: set[socket.socket] = set()
        self._mutex = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}/0"

    def cut_all(self) -> None:
        """Reset every connection there is."""
        with self._mutex:
            found = list(self._sockets)
        for each in found:
            _reset(each)

    def close(self) -> None:
        """Drop everything."""
        self.closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.weather.refused:
                    self.happened["refused"] += 1
                    _reset(client)
                    continue
                try:
                    upstream = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    _reset(client)
                    continue
                with self._mutex:
                    self._sockets |= {client, upstream}
                for source, sink in ((client, upstream), (upstream, client)):
                    source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                self.happened["chunks"] += 1
                if not self._through(data, sink):
                    break
        with self._mutex:
            self._sockets -= {source, sink}
        # As a proxy that dies would: both sides learn it at once.
        _reset(source)
        _reset(sink)

    def _through(self, data: bytes, sink: socket.socket) -> bool:
        """Pass a chunk on after what the weather does to it; false when the connection does not survive that."""
        weather = self.weather
        time.sleep(weather.delay + self._chance.uniform(0, weather.jitter) if weather.delay or weather.jitter else 0)
        again = _RETRANSMIT_SECONDS
        while self._chance.random() < weather.lost:
            self.happened["lost"] += 1
            time.sleep(again)
            again = min(2 * again, _LONGEST_RETRANSMIT_SECONDS)
        while self.weather.stalled and not self.closed:
            time.sleep(_LOOK_SECONDS)
        if self._chance.random() < weather.cut:
            self.happened["cut"] += 1
            return False
        if self._chance.random() < weather.torn:
            # A part arrives, and the rest never does.
            self.happened["torn"] += 1
            sink.sendall(data[: self._chance.randrange(len(data))])
            return False
        sink.sendall(data)
        return True


def _reset(each: socket.socket) -> None:
    """Close with a reset, not in order, and wake whoever reads it."""
    with suppress(OSError):
        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
