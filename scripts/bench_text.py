"""The prose of docs/BENCHMARKS.md: what each measurement is, how it is made, and where its limit lies.

Figures are never written here; scripts/bench writes them between these words.
"""

HEAD = """\
# Benchmarks

Written by `./scripts/bench --write`; the words come from `scripts/bench_text.py`, the figures from the runs named
beside them. Each figure is a ratio of two things of one run, taken in turns, medians of the repetitions: a slower
machine moves both. "CPU-s" is a second of CPU time of the keeper's process, all its threads together; wall time
stands beside. Nothing here decides a test: `tests/e2e/test_bench.py` runs every measurement in miniature and looks
only at whether the work was done, as each measurement also does itself (counts, read-backs, the exchange's own
ledger)."""

RERUN = """\
Rerun: `./scripts/bench` (all but the soak), `./scripts/bench NAME …`, `--quick` in miniature, `--write` to write this
file (what was not run keeps its figures), `--profile NAME` for where the time goes. It uses loopback, unix sockets
and a temporary folder, and two cores: run nothing beside it."""

SECTIONS: dict[str, tuple[str, str]] = {
    "ticks": (
        "Ticks past N positions",
        "A MarketActor on the service's runtime, fed with batches of ticks of one symbol; N positions have "
        "registered what they wait for, computed by the rules from real states. Idle: the price goes to and fro "
        "and concerns nobody. Trailing: all are runners with an armed trail, and every tick is a new high for "
        "every one of them; the steps are so small that no stop at rest is due to move (that is an order at the "
        "exchange, at most every five seconds and 0.1 percent, and belongs to the burst below). One managed "
        "position an (account, symbol) slot means that N positions on one symbol are N accounts; here they share "
        "one market, as the accounts of one floor do. Where the time goes (idle and trailing together): more than half "
        "is the book taking the four prices of a tick, in it the tape's pushes a quarter and the groups of trails a "
        "quarter; a sixth is holding bid, ask and last against the mark; a tenth decoding. The limit is the "
        "interpreter on one core: a market is one actor, and a symbol's ticks are worked off in order.",
    ),
    "pool": (
        "Many actors on few threads",
        "The same actor class and messages on the pool and on a thread for each actor, every turn in a fresh "
        "process. Memory is the process's resident memory after the start less that before. The limit of the pool "
        "is the interpreter's lock: it runs one actor at a time, whatever the number of cores.",
    ),
    "saves": (
        "Saves by group commit",
        "A batch on the persistence actor's own path (shard book, watch, read, merge, write, read back byte for "
        "byte, fsync confirmed) against a loop that packs the same states with MessagePack and writes each batch "
        "with one MSET, on the same server under `appendfsync always`. Where the time goes, of the CPU of a save in a "
        "batch of a thousand: three fifths are the merge with what is stored (a quarter of all is MessagePack, a ninth "
        "the proof that the state can be read again), a sixth the two reads, of what is stored and what was written, "
        "compared byte for byte where it lies, a twentieth packing the commands, the rest the batch's bookkeeping; two "
        "thirds of the wall time are the interpreter's, one third waiting for Redis and its fsync, one a batch, in "
        "both. So the limit is the interpreter at batches of a thousand, and the fsync at small ones.",
    ),
    "burst": (
        "One tick, ten thousand targets",
        "A whole house; the exchange plays one price that is past the first target of every position. Until the "
        "last of the orders is executed in the exchange's ledger, each after its intent was acknowledged as "
        "durable. The paper exchange takes part: it executes what waits, up to two hundred orders, in one durable "
        "transaction, on the same two cores. What follows an execution (fills booked, stops moved and resized, their "
        "saves) waits while orders are still on their way, but for a few at a time. Where the time goes until the last "
        "execution: half is the save of what was decided (two fifths of that the merge, a third writing the states, "
        "the rest Redis), an eighth the rules, an eighth the release and its lines in the log, a twelfth the exchange "
        "and as much the gateway. The limit is the interpreter: all of them share one core.",
    ),
    "latency": (
        "Tick to order, idle",
        "From the price at the gateway to the order at the venue's door, the intent durable in between; one "
        "position at a time, everything else at rest. Beside it the fsync of a 4 KB append in the same directory, "
        "in the same seconds: no durable decision can be faster than the disk. The rest, by marks on the way of one "
        "tick, in hundredths of a millisecond: 20 to the position's turn (gateway, market, book), 30 for its decision "
        "and its next registration, 12 to make the state that is saved, during which Redis reads what it has stored of "
        "it, 6 to take that in, 8 to merge, 5 to pack; then the transaction and its fsync; 6 to answer, 20 to show the "
        "state, look at the price once more and write the audit lines, and 6 in the gateway. The position's thread and "
        "the store's take turns at the interpreter's lock, which whoever has just told somebody holds until its turn "
        "is over.",
    ),
    "boot": (
        "Boot",
        "A fresh process on what a killed one left, from `boot` until every account is reconciled with the "
        "exchange (each order looked up, each slot read) and prices flow; against reading and decoding the same "
        "snapshots to positions, and nothing else. One survey asks about up to 250 slots of an account; a position "
        "that is as it was recorded goes on without a message and saves nothing, and its actor is made only once "
        "something concerns it: a price, a report, a person, or its turn to look around, which comes to each of a "
        "hundred thousand within half an hour. Fewer accounts with more symbols, or the other way round, move it a "
        "little: gateways and markets are started too. The limit is the interpreter: beside the decoding, which is in "
        "both figures, of each position the exchange's answer is read from its ledger (in this same process) and made "
        "into orders, trades and sizes, compared with the record, what it waits for is worked out and registered at "
        "the book, and it is entered with its account, its gateway, the health actor and the directory.",
    ),
    "memory": (
        "Memory of a position",
        "Resident memory of such a process after the boot, once the actor of every position has been made, less that "
        "before any account was there, divided by the positions: actors, states, published values, registrations, and "
        "all accounts, gateways and markets.",
    ),
    "stop": (
        "A stop in the middle of a burst",
        "Every price is a new peak of 100,000 runners, saved with the symbol's tape, a small write for each of ten "
        "shards; ten of them also cross the stop of one position each, a trailing one that the exchange's own stop "
        "does not follow yet, so that the keeper decides. The second pair of rows is what positions do not do any "
        "more: as many states that only moved a peak, told to the store one by one and all at once; the stops' saves "
        "stand behind them in its mailbox. A full close may be sent before it is durable, so protection waits for "
        "neither; it is measured because the record must not lag either. The slowest used to wait for the copies of "
        "the tape, which went through all runners of each shard, 13 ms for ten shards; what is left is the batch that "
        "is under way, an fsync beside it, and the interpreter's switch between the threads.",
    ),
    "health": (
        "Health of 100,000 actors",
        "One round of the health actor: every mailbox pinged, every answer taken, the records "
        "published (each is made when somebody looks at it), the log written; its CPU time as a share of the ten "
        "seconds between two rounds.",
    ),
    "soak": (
        "Soak",
        "The whole house under a violent random market; positions that close are replaced in their slots. At the "
        "end the market pauses, everything comes to rest, and every book that ever was is compared with the "
        "exchange's ledger: each execution booked once and whole, each slot as large as its book says, one stop "
        "of the right size and price behind it, nothing of ours at rest that no book knows.",
    ),
}
