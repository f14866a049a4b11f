"""What `exitkeeper doctor` says of each account: its market, or what its exchange lets its keys do."""

import os
from collections.abc import Iterator

from service.bootstrap import probe_live
from service.config import AccountConfig, LiveConfig
from service.data_dir import CannotStart
from service.findings import Finding, Level


def check_account(account: AccountConfig) -> Iterator[Finding]:
    """What can be known of an account without starting it; a real exchange is asked."""
    if account.live is None:
        yield _paper(account)
    else:
        yield from _live(account, account.live)


def _paper(account: AccountConfig) -> Finding:
    name = f"account {account.name}"
    for symbol, file in account.market.replay.items():
        if not os.access(file, os.R_OK):
            return Finding(
                Level.FAIL, name, f"{symbol}: {file} cannot be read", "give read access, or name another file"
            )
    symbols = sorted({*account.market.replay, *account.market.random_walk})
    return Finding(Level.OK, name, f"{account.venue}, simulated money, {', '.join(symbols)}")


def _live(account: AccountConfig, live: LiveConfig) -> Iterator[Finding]:
    """Where its orders go, then credentials, position mode, clock and permissions, as the exchange tells them."""
    name = f"account {account.name}"
    if live.endpoint is not None:
        where = f"{account.venue} at {live.endpoint}"
    else:
        where = f"{account.venue}, {'demo trading' if live.demo else 'real money'}"
    yield Finding(Level.OK, name, where)
    try:
        found = probe_live(account, live)
    except CannotStart as error:
        yield Finding(Level.FAIL, name, str(error), "pip install exitkeeper[live]")
        return
    for level, text, remedy in found:
        yield Finding(Level(level), name, text, remedy)
