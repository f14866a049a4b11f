"""What `exitkeeper doctor` says of what a keeper gets into: the last day's failures, and what the service tells."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from persistence.failure_log import (
    LEASE_LOST,
    LEASE_TAKEN,
    REACHABLE,
    SETTLED,
    SPILLED,
    UNREACHABLE,
    UNRECORDED,
    Failure,
    latest_spills,
    read_failures,
)
from persistence.words import words_for
from service.cli_failures import FAILURES_FILE
from service.config import AccountConfig, Config
from service.doctor import Finding, Level, service_url
from service.views import moment

DEFAULT_LEASE_SECONDS: Final = 10.0
_DAY_MICROS: Final = 24 * 3600 * 1_000_000
_NAMED: Final = 5
_LONGEST_LIST: Final = 10_000

_NAMES: Final[Mapping[str, str]] = {
    UNREACHABLE: "redis outage",
    LEASE_LOST: "lease lost",
    "snapshot.unknown": "saves in doubt",
    "snapshot.conflict": "dropped saves",
    "snapshot.stale_owner": "another owner",
    "snapshot.failed": "failed saves",
    "snapshot.discarded": "old unsaved changes",
    UNRECORDED: "audit trail",
}

# What a reason of /readyz says, in the order in which they are looked for; its name here, and what to do.
_REASONS: Final = (
    ("redis is not reachable", "redis", "bring Redis back; saving and trading go on by themselves"),
    ("lease ran out", "shard lost", "bring Redis back; the keeper takes its positions again by itself"),
    (
        "another keeper",
        "another keeper",
        "stop one of the two; this one goes on by itself once the other has given the positions up",
    ),
    (
        "is held by",
        "another keeper",
        "stop the other keeper, or wait until its lease runs out; this one then goes on by itself",
    ),
    ("waiting for its lease", "lease", "wait some seconds; if it stays, see the lines about Redis"),
    ("could not be taken", "lease", "bring Redis back; the keeper asks again every 2 seconds"),
    ("not reconciled", "reconciliation", "see that the exchange answers; nothing is sent before it has been asked"),
    ("no fresh price", "prices", "see that the exchange's prices arrive; until then only stops on the exchange act"),
    ("draining", "service", "wait for its end, then start it again with `exitkeeper run`"),
)


def situations(config: Config) -> Iterator[Finding]:
    """Every situation that can be seen from here, each with what to do."""
    for account in config.accounts.values():
        yield check_lease(account, lease_seconds(config))
    yield from check_failures(config.data_dir / FAILURES_FILE, time.time_ns() // 1000)
    yield from check_running(config)


# -- the lease ---------------------------------------------------------------------------------------------------------


def lease_seconds(config: Config) -> float:
    """How long a lease is: the shortest that an account asks for."""
    asked = [account.lease_ttl_seconds for account in config.accounts.values() if account.lease_ttl_seconds]
    return min(asked, default=DEFAULT_LEASE_SECONDS)


def check_lease(account: AccountConfig, seconds: float) -> Finding:
    """A lease is renewed every third of it, and signs nothing that could outlive it."""
    settings = account.settings
    order_seconds = settings.request_expiry_seconds + settings.clock_skew_seconds
    needed = order_seconds + seconds / 3
    detail = (
        f"{account.name}: {seconds:g} s; an order needs {order_seconds:g} s of it, and it is renewed every "
        f"{seconds / 3:.3g} s"
    )
    if seconds > needed:
        return Finding(Level.OK, "lease", detail)
    remedy = f"set lease_ttl_seconds above {order_seconds * 1.5:g}: between two renewals no order could be signed"
    return Finding(Level.WARN, "lease", detail, remedy)


# -- the failure log ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Group:
    """Lines that say the same. It `stands` until a later line takes it back."""

    last: Failure
    count: int = 0
    positions: dict[str, None] = field(default_factory=dict)
    stands: bool = False


def check_failures(path: Path, now: int) -> Iterator[Finding]:
    """What the failure log tells of the last day. `now` is in microseconds UTC."""
    since = moment(now - _DAY_MICROS) or ""
    try:
        lines = [failure for failure in read_failures(path) if failure.at >= since]
    except OSError as error:
        reason = error.strerror or type(error).__name__
        yield Finding(Level.WARN, "failure log", f"{path}: {reason}", "run doctor as the user that runs the service")
        return
    waiting = [name for shard in {line.shard for line in lines} for name in latest_spills(lines, shard)]
    if waiting:
        detail = f"{len(waiting)} positions have changes that Redis does not hold yet: {_some(waiting)}"
        remedy = "let the service run with its Redis: it saves them by itself; `exitkeeper failures` shows them"
        yield Finding(Level.FAIL, "unsaved changes", detail, remedy)
    groups = _grouped(lines)
    for group in groups:
        words = words_for(group.last)
        times = "once" if group.count == 1 else f"{group.count} times, last"
        where = f" ({_some(group.positions)})" if group.positions else ""
        over = "" if group.stands else ", over since"
        yield Finding(
            Level.FAIL if group.stands else Level.WARN,
            _NAMES.get(group.last.kind, group.last.kind),
            f"{times} at {group.last.at}{over}: {words.why}{where}",
            words.remedy,
        )
    if not waiting and not groups:
        yield Finding(Level.OK, "failure log", "everything was saved at once for a day")


def _grouped(lines: Iterable[Failure]) -> list[_Group]:
    """By what they say, oldest first; what merely takes something back has no group of its own."""
    groups: dict[tuple[str, str, str], _Group] = {}
    for line in lines:
        if line.kind in (REACHABLE, LEASE_TAKEN, SETTLED, SPILLED):
            _take_back(groups.values(), line)
            continue
        group = groups.setdefault((line.kind, line.cause, line.shard), _Group(line))
        group.last, group.count = line, group.count + 1
        group.stands = line.kind in (UNREACHABLE, LEASE_LOST, "snapshot.unknown")
        if line.position_id:
            group.positions[line.position_id] = None
    return list(groups.values())


def _take_back(groups: Iterable[_Group], line: Failure) -> None:
    for group in groups:
        if line.kind == REACHABLE and group.last.kind in (UNREACHABLE, "snapshot.unknown"):
            group.stands = False
        if line.kind == LEASE_TAKEN and (group.last.kind, group.last.shard) == (LEASE_LOST, line.shard):
            group.stands = False


def _some(names: Iterable[str]) -> str:
    known = list(names)
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    return ", ".join(known[:_NAMED]) + more


# -- the running service -----------------------------------------------------------------------------------------------


def check_running(config: Config) -> Iterator[Finding]:
    """What the service says of itself; nothing when it does not answer, which check_service has said."""
    headers = {"Authorization": f"Bearer {config.http.token}"} if config.http.token else {}
    try:
        with httpx.Client(base_url=service_url(config), headers=headers, timeout=3, trust_env=False) as client:
            reasons = client.get("/readyz").json()["reasons"]
            health = client.get("/v1/health").json()
            positions = list(_positions(client))
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return
    for reason in map(str, reasons):
        yield _explain(reason)
    quarantined = [f"{item['id']}: {item['reason']}" for item in health.get("quarantined", ())]
    if quarantined:
        remedy = "compare `exitkeeper show ID` with the exchange and close by hand there if need be; then restart"
        yield Finding(Level.FAIL, "quarantined", _some(quarantined), remedy)
    bare = [str(item["id"]) for item in positions if item["phase"] in ("open", "runner") and not item["protected"]]
    if bare:
        remedy = "see `exitkeeper show ID`; if it stays so, place a stop on the exchange by hand, or close"
        yield Finding(Level.WARN, "unprotected", f"no stop of ours was read back for {_some(bare)}", remedy)


def _positions(client: httpx.Client) -> Iterator[Mapping[str, Any]]:
    cursor, seen = None, 0
    while seen < _LONGEST_LIST:
        page = client.get("/v1/positions", params={"cursor": cursor} if cursor else {}).json()
        yield from page["positions"]
        seen += len(page["positions"])
        cursor = page["next"]
        if not cursor:
            return


def _explain(reason: str) -> Finding:
    for part, name, remedy in _REASONS:
        if part in reason.lower():
            return Finding(Level.FAIL, name, reason, remedy)
    return Finding(Level.FAIL, "service", reason, "see its log: every line of a trouble says what to do")
