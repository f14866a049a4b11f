"""Faults of saving: the fence, versions, doubt, spills, leases, and the order in which states are saved."""

from tests.simulation.planting import Edit, Plant

COMMIT, BOOK, TENURE = "persistence.commit:CommittingStore", "persistence.shard_book", "persistence.tenure:Tenure"
PERSISTENCE = "persistence.actor:PersistenceActor"

STORE: tuple[Plant, ...] = (
    Plant(
        name="no fence",
        breaks="a save does not ask who owns the shard",
        edits=(
            Edit(target=f"{COMMIT}.save", old="if fence.epoch != epoch:", new="if False:"),
            Edit(target=f"{COMMIT}._settle_bounded", old="if fence.epoch != epoch:", new="if False:"),
        ),
    ),
    Plant(
        name="no version check",
        breaks="a save does not ask whether it grew from what is stored",
        edits=(Edit(target="persistence.batch:_grow", old="if version != change.grew_from:", new="if False:"),),
    ),
    Plant(
        name="saves of an earlier life taken",
        breaks="a save that belongs to a life of the shard that has ended is taken in",
        edits=(
            Edit(
                target=f"{PERSISTENCE}._on_save",
                old="if book.announced and save.epoch is not None and save.epoch != book.epoch:",
                new="if False:",
            ),
        ),
    ),
    Plant(
        name="WatchError always retried",
        breaks="a transaction without a clear end is repeated without a look at whether it was applied",
        edits=(Edit(target=f"{COMMIT}.save", old="if self._settle_bounded(shard, epoch, batch):", new="if False:"),),
    ),
    Plant(
        name="doubt taken for success",
        breaks="a transaction without a clear end counts as saved",
        edits=(Edit(target=f"{COMMIT}.save", old="if self._settle_bounded(shard, epoch, batch):", new="if True:"),),
    ),
    Plant(
        name="failed saves dropped",
        breaks="a batch that was not saved is not tried again",
        edits=(Edit(target=f"{PERSISTENCE}._save_batch", old="book.thaw()", new="book.abandon()"),),
    ),
    Plant(
        name="spill ignored",
        breaks="what was decided in an outage and written to the local disk is forgotten by a crash",
        edits=(
            Edit(
                target=f"{TENURE}._spills",
                old="if applies(spill, snapshot, before_run, book.epoch):",
                new="if False:",
            ),
        ),
    ),
    Plant(
        name="spill replayed on anything",
        breaks="a spilled state is taken up though another owner has gone on since",
        edits=(
            Edit(
                target=f"{TENURE}._spills",
                old="if applies(spill, snapshot, before_run, book.epoch):",
                new="if True:",
            ),
        ),
    ),
    Plant(
        name="lease deadline counted after the renewal",
        breaks="a keeper believes in its lease for as long as the store took to answer beyond its end",
        edits=(
            Edit(
                target=f"{TENURE}.renew",
                old="book.deadline = asked_at + self._ttl_seconds",
                new="book.deadline = self._boottime() + self._ttl_seconds",
            ),
        ),
    ),
    Plant(
        name="tape not saved",
        breaks="what prices did since a position was last saved is forgotten by a crash",
        edits=(Edit(target=f"{PERSISTENCE}._on_tapes", old="book.tapes.add(message)", new="pass"),),
    ),
    Plant(
        name="soft save overtakes a decided one",
        breaks="a state in which only extremes moved takes the place of one with a decision",
        edits=(Edit(target=f"{BOOK}:ShardBook.add", old="save.soft and before is None", new="save.soft"),),
    ),
    Plant(
        name="audit lines lost",
        breaks="of several changes that are saved together only the last one is told",
        edits=(Edit(target=f"{BOOK}:_under", old="entry.events + newer.events", new="newer.events"),),
    ),
)
