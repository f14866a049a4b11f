"""The append-only file cut at every byte of its last transactions, each cut booted by a real redis-server.

A real keeper trades first, and writes down what each of its saves acknowledged. Then, for every cut: what the server
holds is, key by key, exactly what it holds after the last transaction that is whole before the cut; nothing is between
two of them. And after each whole transaction every position is a state that the keeper acknowledged, none older than
the newest that was acknowledged by then; epochs, versions and membership agree.
"""

import json
import random
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from actors.domain.schema import SCHEMA, known_fields
from scripts.crash_exchange_world import ACCOUNT
from scripts.crash_stand import AOF, Stand
from tests.crash.campaign_keeper import digest

WORKERS = 2
LEASE = f"ek:{{{ACCOUNT}}}:lease".encode()
Acknowledged = tuple[int, int, str, str]


@dataclass(slots=True)
class Cuts:
    """What was tried, and what was wrong."""

    transactions: int = 0
    bytes: int = 0
    booted: int = 0
    wrong: list[str] = field(default_factory=list)


def transactions(log: bytes) -> list[int]:
    """Where each transaction (or command outside of one) of an append-only file ends."""
    ends, at, inside = [], 0, False
    while at < len(log):
        count, at = _number(log, at)
        words = []
        for _ in range(count):
            length, at = _number(log, at)
            words.append(log[at : at + length])
            at += length + 2
        inside = (inside or words[0].upper() == b"MULTI") and words[0].upper() != b"EXEC"
        if not inside:
            ends.append(at)
    return ends


def _number(log: bytes, at: int) -> tuple[int, int]:
    end = log.index(b"\r\n", at)
    return int(log[at + 1 : end]), end + 2


class Boot:
    """A redis-server in a directory of its own, started on one cut after the other."""

    def __init__(self, directory: Path, source: Path, binary: Path) -> None:
        """`source` is the directory of a server that has ended."""
        self._directory = directory
        self._socket = directory / "redis.sock"
        shutil.copytree(source / "appendonlydir", directory / "appendonlydir")
        self._binary = binary

    def on(self, log: bytes) -> "subprocess.Popen[bytes]":
        """Start it on a log; returns once it answers."""
        (self._directory / AOF).write_bytes(log)
        settings = f"port 0\nunixsocket {self._socket}\ndir {self._directory}\nsave ''\nappendonly yes\n"
        settings += f"appendfsync always\nenable-debug-command yes\nlogfile {self._directory}/redis.log\n"
        (self._directory / "redis.conf").write_text(settings)
        self._socket.unlink(missing_ok=True)
        process = subprocess.Popen([str(self._binary), str(self._directory / "redis.conf")])  # noqa: S603
        until = time.monotonic() + 30
        while not self._answers():
            if process.poll() is not None or time.monotonic() > until:
                process.kill()
                raise SystemExit(f"redis-server does not start on a cut: see {self._directory}/redis.log")
            time.sleep(0.001)
        return process

    def contents(self) -> Mapping[bytes, bytes]:
        """A digest of every key but the lease, which ends by itself."""
        with self._client() as client:
            keys = sorted(key for key in client.keys("*") if key != LEASE)
            found = client.execute_command("DEBUG", "DIGEST-VALUE", *keys) if keys else []
        return dict(zip(keys, found, strict=True))

    def store(self) -> Any:
        """As a keeper reads it."""
        return import_module("service.bootstrap").RedisStore(
            f"unix://{self._socket}", newest_schema=SCHEMA, known_fields=known_fields()
        )

    def _answers(self) -> bool:
        try:
            with self._client() as client:
                return bool(client.ping())
        except (redis.RedisError, OSError):
            return False

    def _client(self) -> Any:
        return redis.Redis(unix_socket_path=str(self._socket), retry=Retry(NoBackoff(), 0), protocol=2)


def acknowledgements(record: Path) -> list[tuple[int, str, Acknowledged]]:
    """(size of the file by then, position, what was acknowledged), in order."""
    found = []
    for line in record.read_text().splitlines():
        entry = json.loads(line)
        found += [(entry["size"], name, tuple(each)) for name, each in entry["saved"].items()]
    return found


def check_whole(boot: Boot, end: int, acknowledged: Sequence[tuple[int, str, Acknowledged]]) -> list[str]:
    """What is wrong with what is stored where a transaction ends."""
    store, wrong = boot.store(), []
    try:
        loaded, fence = store.load(ACCOUNT), store.fence(ACCOUNT)
        wrong += [f"at {end}: {name} cannot be read: {error}" for name, error in loaded.corrupt.items()]
        opened = {snapshot.position_id for snapshot in loaded.snapshots}
        ended = {snapshot.position_id for snapshot in loaded.closed}
        if opened & ended:
            wrong.append(f"at {end}: both open and closed: {opened & ended}")
        for name in {name for _, name, _ in acknowledged}:
            known = {one[0]: one for _, each, one in acknowledged if each == name}
            newest = max((one[0] for size, each, one in acknowledged if each == name and size <= end), default=0)
            stored = store.read(ACCOUNT, name)
            if stored is None:
                if newest or name in opened | ended:
                    wrong.append(f"at {end}: {name} was acknowledged in version {newest}, and is gone")
                continue
            has = (stored.version, stored.epoch, stored.write_id, digest(stored.state))
            if stored.version < newest:
                wrong.append(f"at {end}: {name} is version {stored.version}, acknowledged was {newest}")
            if known.get(stored.version) != has:
                wrong.append(f"at {end}: {name} was never decided so: {has}")
            if stored.epoch > fence.epoch:
                wrong.append(f"at {end}: {name} is of epoch {stored.epoch}, the fence of {fence.epoch}")
            if (name in opened) == (name in ended):
                wrong.append(f"at {end}: {name} is neither open nor closed, or both")
    finally:
        store.close()
    return wrong


def cut(stand: Stand, *, last: int, every: int, seed: int) -> Cuts:
    """Cut inside the last transactions: at every byte, or at about one in `every`, the edges always.

    The stand has ended; its server's files are the source.
    """
    if stand.server is None:
        raise SystemExit("the cuts need a Redis of their own")
    source, binary = stand.server.directory, stand.server.binary
    log = (source / AOF).read_bytes()
    ends = transactions(log)
    first = max(0, len(ends) - 1 - last)
    chance, found = random.Random(seed), Cuts(transactions=len(ends) - 1 - first, bytes=ends[-1] - ends[first])
    acknowledged = acknowledgements(stand.record)
    edges = {end + by for end in ends[first:] for by in (-1, 0, 1)}
    cuts = [at for at in range(ends[first], ends[-1] + 1) if every == 1 or at in edges or chance.randrange(every) == 0]

    def boots(worker: int) -> list[str]:
        directory = stand.folder / f"cut-{worker}"
        directory.mkdir()
        boot = Boot(directory, source, binary)
        wrong: list[str] = []
        # Each worker has a run of neighbours, so that it needs few whole transactions to compare with.
        share = cuts[worker * len(cuts) // WORKERS : (worker + 1) * len(cuts) // WORKERS]
        whole: tuple[int, Mapping[bytes, bytes]] = (-1, {})
        for at in share:
            end = max(end for end in ends if end <= at)
            if whole[0] != end:
                whole = (end, _booted(boot, log[:end], end, acknowledged, wrong))
            if at != end and _booted(boot, log[:at]) != whole[1]:
                wrong.append(f"cut at {at}: not what was stored at {end}")
        return wrong

    with ThreadPoolExecutor(WORKERS) as pool:
        for wrong in pool.map(boots, range(WORKERS)):
            found.wrong += wrong
    found.booted = len(cuts)
    return found


def _booted(
    boot: Boot,
    log: bytes,
    end: int = 0,
    acknowledged: Sequence[tuple[int, str, Acknowledged]] = (),
    wrong: list[str] | None = None,
) -> Mapping[bytes, bytes]:
    process = boot.on(log)
    try:
        if wrong is not None:
            wrong += check_whole(boot, end, acknowledged)
        return boot.contents()
    finally:
        process.kill()
        process.wait()
