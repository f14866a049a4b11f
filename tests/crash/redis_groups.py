"""Real groups of redis-servers on loopback: a primary with replicas and a Sentinel, and a small Cluster."""

import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis

from tests.crash.redis_world import Server, free_port, until

SERVICE = "keeper"
SLOTS = 16384


class Sentinel(Server):
    """One Sentinel, which is a redis-server in another mode. It writes its own configuration on."""

    def __init__(self, directory: Path, primary: Server) -> None:
        self._primary = primary
        super().__init__(directory)

    def start(self, *, load_delay_microseconds: int = 0, wait: bool = True) -> None:
        """Start it, watching the primary."""
        configuration = self.directory / "sentinel.conf"
        configuration.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.directory}\nlogfile {self.directory}/sentinel.log\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {self._primary.port} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} 500\nsentinel failover-timeout {SERVICE} 2000\n",
            encoding="utf-8",
        )
        self.process = subprocess.Popen([str(self.binary), str(configuration), "--sentinel"])
        until(self.answers, "the Sentinel does not start")


class SentinelGroup:
    """A primary, its replicas, and a Sentinel that may fail over by itself."""

    def __init__(self, directory: Path, replicas: int = 1) -> None:
        primary = Server(directory / "server-0")
        self.servers = [primary]
        for number in range(1, replicas + 1):
            follows = {"replicaof": f"127.0.0.1 {primary.port}", "repl-diskless-sync-delay": 0}
            self.servers.append(Server(directory / f"server-{number}", follows))
        self.sentinel = Sentinel(directory / "sentinel", primary)
        until(lambda: self._knows(replicas), "the Sentinel does not know the replicas")

    @property
    def url(self) -> str:
        """As a store is given it."""
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/{SERVICE}"

    def primary(self) -> Server:
        """The server that the Sentinel names now."""
        named = self.sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        port = int(named[1])
        return next(server for server in self.servers if server.port == port)

    def close(self) -> None:
        """End every process."""
        for server in (self.sentinel, *self.servers):
            server.close()

    def _knows(self, replicas: int) -> bool:
        if replicas == 0:
            return True
        known = self.sentinel.command("SENTINEL", "REPLICAS", SERVICE)
        return sum(replica["master-link-status"] == "ok" for replica in map(_fields, known)) == replicas


class ClusterGroup:
    """A Cluster without replicas, its slots in equal parts on its nodes."""

    def __init__(self, directory: Path, nodes: int) -> None:
        self.servers = [Server(directory / f"node-{number}", _of_cluster(directory, number)) for number in range(nodes)]
        first = self.servers[0]
        for index, server in enumerate(self.servers):
            start, end = index * SLOTS // nodes, (index + 1) * SLOTS // nodes - 1
            server.command("CLUSTER", "ADDSLOTSRANGE", start, end)
            if index:
                server.command("CLUSTER", "SET-CONFIG-EPOCH", index)
                first.command("CLUSTER", "MEET", "127.0.0.1", server.port, server.settings["cluster-port"])
        until(lambda: all(self._complete(server) for server in self.servers), "the Cluster does not come together")

    @property
    def url(self) -> str:
        """As a store is given it: one node is enough."""
        return f"redis+cluster://127.0.0.1:{self.servers[0].port}"

    def serving(self, slot: int, asked: Server | None = None) -> Server:
        """The node that serves a slot, as one of them knows it."""
        for first, last, primary, *_ in (asked or self.servers[0]).command("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(server for server in self.servers if server.port == primary[1])
        raise AssertionError(f"nobody serves slot {slot}")

    def begin_move(self, slot: int, target: Server) -> None:
        """The slot is leaving its node; its keys are still there."""
        source = self.serving(slot)
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", _id(source))
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", _id(target))

    def move_keys(self, slot: int, source: Server, target: Server, keys: Sequence[str] | None = None) -> None:
        """These keys of the slot, or all of them, go to the target."""
        found = source.command("CLUSTER", "GETKEYSINSLOT", slot, 1000) if keys is None else keys
        source.command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *found)

    def end_move(self, slot: int, target: Server) -> None:
        """The slot is the target's, and every node knows."""
        for server in (target, *(other for other in self.servers if other is not target)):
            server.command("CLUSTER", "SETSLOT", slot, "NODE", _id(target))
        # Until all have heard of the last move, another one would make two nodes claim slots under one epoch.
        until(lambda: len({self._epochs(server) for server in self.servers}) == 1)
        until(lambda: all(self.serving(slot, server) is target for server in self.servers))

    def move(self, slot: int, target: Server) -> None:
        """A whole slot, with its keys."""
        source = self.serving(slot)
        self.begin_move(slot, target)
        self.move_keys(slot, source, target)
        self.end_move(slot, target)

    def close(self) -> None:
        """End every process."""
        for server in self.servers:
            server.close()

    def _epochs(self, server: Server) -> frozenset[tuple[str, str]]:
        nodes = _text(server.command("CLUSTER", "NODES")).splitlines()
        return frozenset((line.split()[0], line.split()[6]) for line in nodes)

    def _complete(self, server: Server) -> bool:
        with suppress(redis.RedisError):
            info = server.command("CLUSTER", "INFO")
            known = info if isinstance(info, dict) else dict(line.split(":") for line in _text(info).split())
            return known["cluster_state"] == "ok" and int(known["cluster_known_nodes"]) == len(self.servers)
        return False


def _of_cluster(directory: Path, number: int) -> dict[str, Any]:
    return {
        "cluster-enabled": "yes",
        "cluster-port": free_port(),
        "cluster-node-timeout": 2000,
        "cluster-config-file": directory / f"node-{number}" / "nodes.conf",
    }


def _id(server: Server) -> str:
    return _text(server.command("CLUSTER", "MYID"))


def _fields(item: Any) -> dict[str, str]:
    if isinstance(item, dict):
        return {_text(name): _text(value) for name, value in item.items()}
    return {_text(name): _text(value) for name, value in zip(item[::2], item[1::2], strict=True)}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
