"""Who plays the market of a ledger that several processes trade on: one at a time, the others follow.

The player holds a lease in the ledger for a second of wall time, and renews it while it plays; a stale one is taken
over. Each price is played in one transaction with a look at the lease's holder: a player that was frozen, and has been
replaced meanwhile, cannot play the price it had in hand.
"""

from threading import RLock

from actors.domain.model import Micros
from actors.venues.base import VenueOrder
from actors.venues.paper_tables import PaperTables

_LEASE: Micros = 1_000_000
# Renewed only when less than this is left, so that a fast market does not pay for a lease with each price.
_RENEW_BELOW: Micros = 600_000


class PaperFeed:
    """The lease, and what others did. All raise sqlite3.Error when the file fails."""

    def __init__(self, tables: PaperTables, lock: RLock) -> None:
        self._tables = tables
        self._lock = lock
        # Who we are; empty where the ledger is not shared, and nobody needs a lease.
        self.player = ""

    def claim(self, now: Micros) -> bool:
        """Whether it is ours to play until the next claim, because we hold the lease or it was stale."""
        with self._lock:
            player, until = self._lease()
            # A lease of the far future is that of a clock that was set back since.
            held = now < until <= now + _LEASE
            if held and (player != self.player or until - now > _RENEW_BELOW):
                return player == self.player
            with self._tables.transaction(durable=False):
                if self._lease() != (player, until):
                    return False
                self._tables.execute("INSERT OR REPLACE INTO feed VALUES (1, ?, ?)", (self.player, now + _LEASE))
            return True

    def release(self) -> None:
        """Let another one play at once, if it is we who do."""
        with self._lock, self._tables.transaction(durable=False):
            self._tables.execute("DELETE FROM feed WHERE player = ?", (self.player,))

    def is_ours(self) -> bool:
        """Inside a transaction: whether nobody has taken our place."""
        return not self.player or self._lease()[0] == self.player

    def newest_trade(self) -> int:
        """The number of the latest execution of all accounts; 0 before the first."""
        with self._lock:
            (newest,) = self._tables.execute("SELECT max(id) FROM trades").fetchone()
            return newest or 0

    def executed_after(self, trade: int) -> tuple[int, list[tuple[str, VenueOrder]]]:
        """The latest execution's number, and (account, order) of every order executed after a trade."""
        newest = self.newest_trade()
        if newest == trade:
            return trade, []
        with self._lock, self._tables.snapshot():
            rows = self._tables.execute(
                "SELECT order_id FROM trades WHERE id > ? AND id <= ? GROUP BY order_id ORDER BY max(id)",
                (trade, newest),
            ).fetchall()
            orders = [self._tables.order(order_id) for (order_id,) in rows]
            return newest, [(order.account, self._tables.told(order)) for order in orders]

    def _lease(self) -> tuple[str, Micros]:
        row = self._tables.execute("SELECT player, until FROM feed").fetchone()
        return (str(row[0]), int(row[1])) if row else ("", 0)
