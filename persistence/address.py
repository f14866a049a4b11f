"""Where Redis is: what a URL says, read without ever repeating any of it, because it may hold a password.

    redis://[user:password@]host[:port][/db]                                 one server
    unix://[user:password@]path                                              one server on this machine
    redis+sentinel://[user:password@]host[:port],host[:port]/service[/db]    the primary that the Sentinels name
    redis+cluster://[user:password@]host[:port],host[:port]                  a Cluster; any of its nodes may be named

`rediss` in the place of `redis` is the same over TLS, and `?ssl_…=` its settings. User and password are those of the
servers; what the Sentinels themselves want is given as `?sentinel_username=` and `?sentinel_password=`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

SCHEMES = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)

_NODE = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?")
_SERVICE = re.compile(r"(?P<service>[A-Za-z0-9._-]+)(/(?P<db>[0-9]{1,9}))?/?")
_ESCAPED = "inside a user or password, @ / ? # and , are written as %40 %2F %3F %23 and %2C"


class Kind(StrEnum):
    """What is found at an address."""

    SERVER = "server"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """One server of a group, or one Sentinel."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A URL, taken apart. For a single server only `url` counts; the library reads that by itself."""

    kind: Kind
    url: str = field(repr=False)
    nodes: tuple[Node, ...] = ()
    service: str = ""
    db: int = 0
    tls: bool = False
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def server_url(self, node: Node) -> str:
        """The URL of one server of the group."""
        return self._plain(node, self.username, self.password, f"/{self.db}")

    def sentinel_url(self, node: Node) -> str:
        """The URL of one Sentinel."""
        known = dict(self.options)
        return self._plain(node, known.get("sentinel_username", ""), known.get("sentinel_password", ""), "")

    def _plain(self, node: Node, username: str, password: str, path: str) -> str:
        login = f"{quote(username, safe='')}:{quote(password, safe='')}@" if username or password else ""
        query = urlencode([(name, value) for name, value in self.options if not name.startswith("sentinel_")])
        return f"{'rediss' if self.tls else 'redis'}://{login}{node}{path}{f'?{query}' if query else ''}"


def parse_address(url: str) -> Address:
    """Take a URL apart. Raises ValueError, whose message repeats nothing of the URL but its scheme."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise ValueError(f"must begin with one of {', '.join(f'{known}://' for known in SCHEMES)}")
    protocol, _, group = scheme.partition("+")
    if not group:
        return _server(url)
    if "#" in rest:
        raise ValueError(f"has a # in it; {_ESCAPED}")
    body, _, query = rest.partition("?")
    authority, _, path = body.partition("/")
    login, _, hosts = authority.rpartition("@")
    username, _, password = login.partition(":")
    kind = Kind(group)
    nodes = tuple(_nodes(hosts, 26379 if kind is Kind.SENTINEL else 6379))
    service, db = _service_and_db(kind, path)
    return Address(
        kind=kind,
        url=url,
        nodes=nodes,
        service=service,
        db=db,
        tls=protocol == "rediss",
        username=unquote(username),
        password=unquote(password),
        options=tuple(_options(kind, query, tls=protocol == "rediss")),
    )


def secrets_of(url: str) -> Iterator[str]:
    """Every part of a URL that must never be shown, as it is written and as it is meant. Raises nothing."""
    rest = url.partition("://")[2]
    body, _, query = rest.partition("?")
    # The whole part before the host, and the password by itself: an error may show either.
    login = body.rpartition("@")[0] or rest.rpartition("@")[0]
    password = login.partition(":")[2]
    yield from (login, password, unquote(password))
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if "password" in name:
            yield from (value, unquote(value.replace("+", " ")))


def slots_of(reply: Any, asked: Node) -> list[tuple[int, int, Node]]:
    """The map in an answer to CLUSTER SLOTS: first slot, last slot, primary. Raises ValueError."""
    slots: list[tuple[int, int, Node]] = []
    try:
        for first, last, primary, *_ in reply:
            host = (primary[0] or b"").decode()
            # A node that does not know under which name it is reached leaves it out: then it is that of whoever told.
            slots.append((int(first), int(last), Node(asked.host if host in ("", "?") else host, int(primary[1]))))
    except (TypeError, IndexError, AttributeError, ValueError):
        raise ValueError(f"what answers at {asked} is no node of a Cluster") from None
    return slots


def _server(url: str) -> Address:
    try:
        parts = urlsplit(url)
        sound = (parts.port is None or parts.port > 0) and not parts.fragment
    except ValueError:
        # The library's own message would show what stands in the place of the port: it may be a password's second half.
        sound = False
    if not sound:
        raise ValueError(f"cannot be read: its host or port is none; {_ESCAPED}")
    return Address(kind=Kind.SERVER, url=url, tls=parts.scheme == "rediss")


def _nodes(hosts: str, default_port: int) -> Iterator[Node]:
    for text in hosts.split(","):
        found = _NODE.fullmatch(text)
        if found is None:
            raise ValueError(f"must name its nodes as host:port, with commas between them; {_ESCAPED}")
        port = int(found["port"] or default_port)
        if not 0 < port < 65536:
            raise ValueError("names a port that is not from 1 to 65535")
        yield Node(found["host"].strip("[]"), port)


def _service_and_db(kind: Kind, path: str) -> tuple[str, int]:
    if kind is Kind.CLUSTER:
        if path not in ("", "0"):
            raise ValueError("names a database, or something else behind its nodes: a Cluster has database 0 alone")
        return "", 0
    found = _SERVICE.fullmatch(path)
    if found is None:
        raise ValueError("must end with the name of the service that the Sentinels watch: …host:port/service[/db]")
    return found["service"], int(found["db"] or 0)


def _options(kind: Kind, query: str, *, tls: bool) -> Iterator[tuple[str, str]]:
    for name, value in parse_qsl(query, keep_blank_values=True):
        of_sentinels = kind is Kind.SENTINEL and name in ("sentinel_username", "sentinel_password")
        if not of_sentinels and not (tls and name.startswith("ssl_")):
            known = "sentinel_username and sentinel_password for Sentinels, and ssl_… with rediss"
            raise ValueError(f"has a setting behind its ? that is not known: there are {known}; {_ESCAPED}")
        yield name, value
