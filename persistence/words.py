"""What went wrong with saving, and what to do about it, in words for whoever trades with this.

One place for the log, for `exitkeeper failures` and for `exitkeeper doctor`, so that they never disagree.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from persistence.failure_log import (
    DISCARDED,
    LEASE_LOST,
    LEASE_TAKEN,
    REACHABLE,
    SETTLED,
    SPILLED,
    UNREACHABLE,
    UNRECORDED,
    Failure,
)
from persistence.store import Outage


@dataclass(frozen=True, slots=True)
class Words:
    """What happened, and what to do."""

    why: str
    remedy: str


MEANWHILE = "until then nothing is opened or partly closed, stops on the exchange stay, and nothing is forgotten"

OUTAGES: Mapping[Outage, Words] = {
    Outage.REFUSED: Words(
        "nothing answers where Redis should be: it is not running, or its address is wrong",
        "start Redis, or correct redis.url",
    ),
    Outage.SILENT: Words(
        "Redis does not answer in time: it hangs, is overloaded, or the network swallows what is sent",
        "look at the load of the Redis machine and at the network; restart redis-server when it hangs",
    ),
    Outage.CUT: Words(
        "the connection to Redis broke: it was restarted, or the network failed",
        "see that Redis runs; when it is back within seconds there is nothing to do",
    ),
    Outage.LOADING: Words(
        "Redis was restarted and is still reading its data",
        "wait until it has read everything; restarting it again only makes it begin anew",
    ),
    Outage.READ_ONLY: Words(
        "this Redis is a copy that takes no changes: there was a failover, or redis.url names the wrong server",
        "point redis.url at the primary, or make this server the primary with REPLICAOF NO ONE",
    ),
    Outage.DISK: Words(
        "Redis cannot write to its own disk, and takes no changes until it can",
        "make room on the disk of Redis, and see its log",
    ),
    Outage.MEMORY: Words(
        "Redis has reached its memory limit, and takes no changes",
        "raise maxmemory, or remove other data from it; leave maxmemory-policy at noeviction",
    ),
    Outage.LOGIN: Words(
        "Redis refuses the user or the password, or does not let this user write",
        "correct the password in redis.url, or give its user the right to write",
    ),
    Outage.OWN_SERVER: Words(
        "the keeper's own Redis hangs, or could not be started",
        "see redis/redis.log in the data directory, most often the disk is full; when its process hangs, end it: the "
        "keeper starts it again",
    ),
    Outage.NO_PRIMARY: Words(
        "no Sentinel names a Redis that takes changes: a failover is under way, or the Sentinels cannot be reached",
        "wait for the failover; if it stays, see that a Sentinel of redis.url answers, with this password, and knows "
        "the service that redis.url names",
    ),
    Outage.CLUSTER_DOWN: Words(
        "the Redis Cluster does not serve these positions: their node is down, or not all slots are given",
        "see `CLUSTER INFO` and bring the missing node, or its replica, back",
    ),
    Outage.MOVING: Words(
        "the Redis Cluster is moving these positions to another of its nodes",
        "wait until the move is done; see `CLUSTER NODES` when it stands still",
    ),
    Outage.OTHER: Words(
        "Redis answers with something that it should not",
        "see the error, and whether another program writes into the same Redis",
    ),
}

_PLAIN: Mapping[str, Words] = {
    SETTLED: Words("saved after all: nothing was lost", "nothing"),
    REACHABLE: Words("Redis answers again, and everything that waited is saved", "nothing"),
    LEASE_LOST: Words(
        "Redis could not confirm in time that these positions are still this keeper's",
        "bring Redis back; until then only stops on the exchange and protective full closes act",
    ),
    LEASE_TAKEN: Words("the positions are this keeper's again", "nothing; everything is checked against the exchange"),
    DISCARDED: Words(
        "an earlier run could not save this change, and something else is stored by now: it is kept as evidence only",
        "nothing, if `exitkeeper show` agrees with the exchange, which was asked at the start",
    ),
    UNRECORDED: Words(
        "the position is saved, but Redis took no lines for its audit trail or the history: something else is in their "
        "place",
        "stop whatever else writes the keeper's keys, and rename the key that `exitkeeper doctor` names: a new trail "
        "begins by itself; the lines that it lacks are in failures.jsonl in data_dir",
    ),
    "snapshot.conflict": Words(
        "another state of this position is stored already, so this one was dropped",
        "the position goes on from what is stored; see that only one keeper runs on this account",
    ),
    "snapshot.stale_owner": Words(
        "another keeper owns these positions, so this one's change was not saved",
        "if there should be only one keeper, stop one of the two",
    ),
}

EMPTIED = Words(
    "Redis has forgotten who owned these positions: it was emptied, or restored from an older copy",
    "stop the keeper and restore the latest data of Redis; check that appendonly is yes and appendfsync always",
)
UNREADABLE_FENCE = Words(
    "the record of who owns these positions cannot be read",
    "another program has written into the keeper's keys: stop it, and restore the data of Redis",
)
CORRUPT = Words(
    "what is stored for this position cannot be read, so nothing is written over it",
    "it is not managed until it is repaired: `exitkeeper snapshots show` tells what is stored",
)


def outage_in(error: BaseException) -> Outage:
    """Why the store did not do its work, from what it raised."""
    found = getattr(error, "outage", Outage.OTHER)
    return found if isinstance(found, Outage) else Outage.OTHER


def words_for_outage(cause: str) -> Words:
    """The words for an Outage by its value; an unknown one (of a newer release) is taken for OTHER."""
    try:
        return OUTAGES[Outage(cause)]
    except ValueError:
        return OUTAGES[Outage.OTHER]


def words_for_ownership(mine: int, found: int) -> Words:
    """Why a shard is not ours any more: by its epoch as this keeper held it, and as the store has it."""
    if found > mine:
        return _PLAIN["snapshot.stale_owner"]
    return EMPTIED if found < mine else UNREADABLE_FENCE


def words_for(failure: Failure) -> Words:
    """What one line of the failure log says."""
    if failure.kind == UNREACHABLE:
        words = words_for_outage(failure.cause)
        return Words(words.why, f"{words.remedy}; {MEANWHILE}")
    if failure.kind == SPILLED:
        words = words_for_outage(failure.cause)
        return Words(f"not saved yet, kept here until it is: {words.why}", words.remedy)
    if failure.kind == "snapshot.unknown":
        words = words_for_outage(failure.cause)
        return Words(
            f"it is not known yet whether the last changes were saved: {words.why}",
            f"{words.remedy}; it is settled before anything that depends on it is sent",
        )
    if failure.kind == "snapshot.stale_owner" and failure.cause.isdigit():
        return words_for_ownership(failure.epoch, int(failure.cause))
    if failure.kind == "snapshot.failed":
        if failure.position_id:
            return CORRUPT
        return Words("saving failed in a way nobody foresaw", "it is tried again by itself; report the error")
    return _PLAIN.get(failure.kind, Words(failure.error or failure.kind, "see the log of that time"))
