"""A keeper that freezes (SIGSTOP) at the worst moment of one leg: run as a script.

    python frozen_keeper.py sending|saving POSITION LEG run --config FILE …

`sending`: between the check of its deadline and the first order of that leg. Continued, it sends the request as it was
signed, and says on stdout, in a line like those of the log, what the exchange made of it. `saving`: before the first
transaction with that leg's intent is written, with all that the transaction was made from read already.

It never freezes inside a write of the paper exchange's file: a keeper cannot hold a real exchange up, and SQLite's lock
in a process that stands still would.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from actors.domain.model import Micros
from actors.domain.step import ORDER_TAG_DIGITS, client_order_id
from actors.venues.base import OrderRejected, OrderRequest
from actors.venues.paper import PaperVenue
from actors.venues.paper_ledger import OrderRead, PaperExchange
from actors.venues.paper_settings import PaperSettings
from persistence.batch import Batch
from persistence.redis_store import RedisStore
from service.cli import main

ANSWERED = "test.answered"

_exchanges: list[PaperExchange] = []


def keep_exchanges() -> None:
    """Remember every paper exchange this process opens, for `_freeze`."""
    create = PaperExchange.__init__

    def keeping(exchange: PaperExchange, settings: PaperSettings) -> None:
        create(exchange, settings)
        _exchanges.append(exchange)

    patch.object(PaperExchange, "__init__", keeping).start()


def freeze_before_sending(position_id: str, leg: str) -> None:
    """Arrange it."""
    wanted = client_order_id("", position_id, leg, 0)
    submit, execute = PaperVenue.submit, PaperExchange.submit
    frozen: list[str] = []

    def freezing(venue: PaperVenue, request: OrderRequest) -> None:
        if not frozen and request.client_order_id[ORDER_TAG_DIGITS:] == wanted:
            frozen.append(request.request_id)
            _freeze()
        submit(venue, request)

    def telling(exchange: PaperExchange, request: OrderRequest, now: Micros) -> OrderRead:
        late_seconds = (now - request.signed_at) / 1_000_000
        try:
            answer = execute(exchange, request, now)
        except OrderRejected as error:
            if request.request_id in frozen:
                _say(error.code, late_seconds)
            raise
        if request.request_id in frozen:
            _say("executed", late_seconds)
        return answer

    patch.object(PaperVenue, "submit", freezing).start()
    patch.object(PaperExchange, "submit", telling).start()


def freeze_before_saving(position_id: str, leg: str) -> None:
    """Arrange it."""
    commit = RedisStore._commit
    frozen: list[str] = []

    def freezing(store: RedisStore, shard: str, batch: Batch) -> None:
        states: list[Any] = [change.state for change in batch.changes if change.position_id == position_id]
        if not frozen and any(intent["leg"] == leg for state in states for intent in state["intents"]):
            frozen.append(batch.write_id)
            _freeze()
        commit(store, shard, batch)

    patch.object(RedisStore, "_commit", freezing).start()


MOMENTS: dict[str, Callable[[str, str], None]] = {"sending": freeze_before_sending, "saving": freeze_before_saving}


def _freeze() -> None:
    with ExitStack() as held:
        for exchange in _exchanges:
            held.enter_context(exchange._lock)
        # Sent to this very thread, so that it cannot take another step before the whole process stands still.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


def _say(what: str, late_seconds: float) -> None:
    line = json.dumps({"event": ANSWERED, "what": what, "late_seconds": late_seconds})
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


if __name__ == "__main__":
    keep_exchanges()
    MOMENTS[sys.argv[1]](*sys.argv[2:4])
    main(sys.argv[4:])
