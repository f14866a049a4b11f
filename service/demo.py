"""`run --demo`: three positions on a seeded market, half a minute of which holds what usually takes a day.

The first market runs through the first target and stays there (part closed, stop at breakeven), the second goes on to
the second target (the trail is armed), the third falls through its stop. After their scripts all walk on at random.
"""

from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

import structlog

from actors.directory import Directory
from actors.messages import Opened, OpenRequest
from actors.runtime.base import Ref, Runtime, tell
from actors.settings import AccountSettings
from service.api_positions import read_open
from service.config import AccountConfig, Config, MarketConfig, WalkConfig

ACCOUNT: Final = "paper"
SPEED: Final = Decimal(30)
_ANSWER_SECONDS: Final = 10.0

# Event seconds (thirty of them pass in one) and percent of the first price. The calm at the beginning leaves ten
# seconds to open the positions at the price that the script assumes.
_SCRIPTS: Final[dict[str, tuple[str, str, tuple[tuple[int, str], ...]]]] = {
    "BTC/USDT:USDT": ("60000", "0.05", ((0, "0"), (300, "0"), (600, "1.3"), (900, "0.8"), (1800, "1.0"))),
    "ETH/USDT:USDT": ("3000", "1", ((0, "0"), (300, "0"), (750, "2.4"), (1200, "3.0"), (1800, "3.2"))),
    "SOL/USDT:USDT": ("150", "20", ((0, "0"), (300, "0"), (750, "-1.9"), (1200, "-0.5"), (1800, "0.4"))),
}


def demo_config(config: Config) -> Config:
    """The configuration with the demonstration's market in the account `paper`."""
    walks = {}
    for symbol, (text, _, script) in _SCRIPTS.items():
        price = Decimal(text)
        points = tuple((Decimal(at), price * (100 + Decimal(percent)) / 100) for at, percent in script)
        walks[symbol] = WalkConfig(price=price, volatility=Decimal("0.4"), seed="demo", waypoints=points)
    account = AccountConfig(
        venue="paper",
        settings=AccountSettings(name=ACCOUNT, shard=ACCOUNT),
        market=MarketConfig(random_walk=walks, speed=SPEED),
    )
    return replace(config, accounts={**config.accounts, ACCOUNT: account})


def open_demo(config: Config, directory: Directory, supervisor: Ref, runtime: Runtime) -> None:
    """Open the three positions, unless there are or were positions: then this is no first start."""
    log = structlog.get_logger()
    if directory.positions:
        return
    for symbol, (_, quantity, _) in _SCRIPTS.items():
        base = symbol.partition("/")[0].lower()
        body: dict[str, Any] = {
            "id": f"demo-{base}",
            "account": ACCOUNT,
            "symbol": symbol,
            "side": "long",
            "quantity": quantity,
            "plan": "runner",
            "tags": {"demo": "yes"},
        }
        reply = runtime.reply()
        tell(supervisor, OpenRequest(reply=reply, **read_open(body, config.plans)))
        try:
            said = reply.get(timeout=_ANSWER_SECONDS)
        except Exception as error:  # noqa: BLE001  A demonstration that fails must not end the service.
            log.warning("service.demo_failed", symbol=symbol, reason=type(error).__name__)
            continue
        if not isinstance(said, Opened):
            log.warning("service.demo_failed", symbol=symbol, reason=getattr(said, "message", str(said)))
