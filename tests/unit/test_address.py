"""What a Redis URL says, and that nobody is told what else is in it."""

import pytest
import redis

from persistence.address import Address, Kind, Node, parse_address, secrets_of
from persistence.redis_connection import connection_maker, connection_settings
from persistence.redis_nodes import servers_of


@pytest.mark.parametrize(
    "url", ["redis://h", "redis://:pw@h:1/2", "rediss://u:pw@h/0?ssl_cert_reqs=none", "unix:///a/b"]
)
def test_one_server_is_left_to_the_library(url: str) -> None:
    """It reads the whole URL by itself."""
    assert (parse_address(url).kind, parse_address(url).url) == (Kind.SERVER, url)


def test_sentinels_name_a_service_and_may_have_a_login_of_their_own() -> None:
    """User and password before the hosts are the servers'."""
    found = parse_address(
        "rediss+sentinel://keeper:p%40w@one:1,[::1],two/main.service/3"
        "?sentinel_username=watcher&sentinel_password=s%2Fw&ssl_ca_certs=/ca.pem"
    )
    assert found.nodes == (Node("one", 1), Node("::1", 26379), Node("two", 26379))
    assert (found.kind, found.service, found.db, found.tls) == (Kind.SENTINEL, "main.service", 3, True)
    assert found.server_url(Node("::2", 5)) == "rediss://keeper:p%40w@[::2]:5/3?ssl_ca_certs=%2Fca.pem"
    assert found.sentinel_url(found.nodes[0]) == "rediss://watcher:s%2Fw@one:1?ssl_ca_certs=%2Fca.pem"


def test_a_cluster_has_nodes_and_one_database() -> None:
    """Any node will do."""
    found = parse_address("redis+cluster://:p:w@one,two:7/")
    assert (found.kind, found.nodes, found.password) == (Kind.CLUSTER, (Node("one", 6379), Node("two", 7)), "p:w")
    assert found.server_url(Node("one", 1)) == "redis://:p%3Aw@one:1/0"
    assert parse_address("redis+cluster://one/0").db == 0


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("hush", "must begin with one of redis://"),
        ("http://hush", "must begin with one of redis://"),
        ("redis+sentinel:hush", "must begin with one of redis://"),
        ("redis://:hu#sh@h/0", "host or port is none"),
        ("redis://:hu/sh@h/0", "host or port is none"),
        ("redis://[hush/0", "host or port is none"),
        ("redis+sentinel://hush:1", "name of the service"),
        ("redis+sentinel://h:1/hush/sh", "name of the service"),
        ("redis+sentinel://:hu/sh@h:1/s", "host:port, with commas"),
        ("redis+sentinel://:hu#sh@h:1/s", "has a # in it"),
        ("redis+sentinel://:hu?sh@h:1/s", "host:port, with commas"),
        ("redis+sentinel:///hush", "host:port, with commas"),
        ("redis+sentinel://h:1,,hush/s", "host:port, with commas"),
        ("redis+sentinel://hush:65536/s", "from 1 to 65535"),
        ("redis+sentinel://h:1/s?hush=1", "not known"),
        ("redis+sentinel://h:1/s?ssl_hush=1", "not known"),
        ("redis+cluster://h:1?sentinel_password=hush", "not known"),
        ("redis+cluster://h:1/hush", "database 0 alone"),
        ("redis+cluster://h:1/1", "database 0 alone"),
        ("redis+cluster://h:hush", "host:port, with commas"),
        ("redis+cluster://", "host:port, with commas"),
    ],
)
def test_what_is_wrong_is_said_without_repeating_it(url: str, expected: str) -> None:
    """A password that is not escaped ends up anywhere in a URL, and so in the library's messages."""
    with pytest.raises(ValueError, match=expected) as caught:
        parse_address(url)
    assert "hu" not in str(caught.value)
    with pytest.raises(ValueError, match="the Redis URL"):
        servers_of(url, connect_timeout_seconds=1, read_timeout_seconds=1)


@pytest.mark.parametrize(
    "url",
    [
        "redis://h/0?hush=1",
        "redis://h/0?socket_timeout=hush",
        "rediss://h/0?ssl_cert_reqs=hush",
        "rediss+cluster://h?ssl_hush=1",
        "rediss+sentinel://h/s?ssl_hush=1",
    ],
)
def test_what_the_library_does_not_know_is_refused_at_once(url: str) -> None:
    """Not at the first connection, and not in its words."""
    parse_address(url)
    with pytest.raises(ValueError, match="behind its") as caught:
        servers_of(url, connect_timeout_seconds=1, read_timeout_seconds=1)
    assert "hush" not in str(caught.value)


def test_every_secret_of_a_url_is_known() -> None:
    """As it is written, and as it is meant, because an error may show either."""
    url = "redis+sentinel://user:p%40w@h/s?sentinel_username=w&sentinel_password=s%2Fw"
    assert {"user:p%40w", "p%40w", "p@w", "s%2Fw", "s/w"} <= set(secrets_of(url))
    assert "hush" in set(secrets_of("redis://:hush@example:6379/0"))
    assert "hu?sh" in set(secrets_of("redis://:hu?sh@example:6379/0"))
    assert set(secrets_of("redis://example")) == {""}


def test_an_address_shows_nothing_of_its_login() -> None:
    """It may be part of a log line."""
    found = parse_address("redis+sentinel://user:hush@h/s?sentinel_password=hush")
    assert isinstance(found, Address)
    assert "hush" not in repr(found)
    assert "user" not in repr(found)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:9", "rediss://127.0.0.1:9"])
@pytest.mark.parametrize("asked", ["", "?retry_on_timeout=yes"])
def test_the_library_tries_to_connect_once(url: str, asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its default is and the URL says: a second connection has no WATCH, and a lease runs meanwhile."""
    connection = connection_maker(url + asked, 0.1, 0.1)()
    attempts: list[int] = []

    def refuse() -> None:
        attempts.append(1)
        raise TimeoutError("nobody there")

    monkeypatch.setattr(connection, "_connect", refuse)
    monkeypatch.setattr("redis.retry.sleep", lambda _: None)
    with pytest.raises(redis.RedisError):
        connection.connect()
    assert len(attempts) == 1


def test_nor_does_it_try_again_to_ask_a_sentinel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Sentinel that is away is passed over at once: the next one is asked, while a lease runs."""
    monkeypatch.setattr("redis.retry.sleep", lambda _: None)
    client = redis.Redis(connection_pool=connection_settings("redis://127.0.0.1:9?retry_on_timeout=yes", 0.1, 0.1))
    attempts: list[int] = []

    def refuse(*_: object) -> None:
        attempts.append(1)
        raise TimeoutError("nobody there")

    monkeypatch.setattr("redis.connection.Connection._connect", refuse)
    with pytest.raises(redis.RedisError):
        client.ping()
    assert len(attempts) == 1
