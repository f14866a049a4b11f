"""When a server is asked to confirm that a save is on its disk."""

import pytest

from persistence.redis_connection import ServerFacts


@pytest.mark.parametrize(
    ("version", "aof", "policy", "asked"),
    [
        ("8.2.3", True, "always", True),
        ("7.2.0", True, "always", True),
        ("7.0.15", True, "always", False),
        ("8.2.3", True, "everysec", False),
        ("8.2.3", True, None, False),
        ("8.2.3", False, "always", False),
    ],
)
def test_only_a_server_that_answers_at_once_is_asked(version: str, aof: bool, policy: str | None, asked: bool) -> None:
    """Before 7.2 there is no such question; under `everysec` the answer would take a second."""
    assert ServerFacts(version=version, aof_enabled=aof, appendfsync=policy).confirms_fsync is asked
