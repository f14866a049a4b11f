"""What the paper exchange server is told: its markets, its accounts' keys, and how strict it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path

from actors.domain.model import Instrument
from actors.venues.paper_settings import MarketSettings, PaperSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One account of the exchange, and the key and secret that open it."""

    account: str
    key: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """Binance's limits. After `patience` refused requests in a minute the address is banned (418) for a while."""

    weight_per_minute: int = 2400
    orders_per_ten_seconds: int = 300
    orders_per_minute: int = 1200
    patience: int = 50
    ban_seconds: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeSettings:
    """One paper exchange server. `path` is its journal, an SQLite file.

    `manual`: each symbol has its first price, and further ones only by hand (`POST /paper/price`). `speed` is how many
    seconds of the market's own time pass in one; the times that are told are the wall's in any case.
    """

    path: Path | str
    market: MarketSettings
    keys: tuple[ApiKey, ...]
    host: str = "127.0.0.1"
    port: int = 0
    speed: float = 1.0
    manual: bool = False
    instruments: tuple[Instrument, ...] = ()
    limits: Mapping[str, Mapping[str, Decimal]] = field(default_factory=dict)
    balance: Decimal = Decimal(1_000_000)
    leverage: int = 20
    maximum_quantity: Decimal = Decimal(1000)
    taker_fee_percent: Decimal = Decimal("0.05")
    maintenance_percent: Decimal = Decimal("0.5")
    maximum_stops: int = 200
    rates: RateLimits = field(default_factory=RateLimits)
    listen_key_seconds: float = 3600.0

    def __post_init__(self) -> None:
        """Refuse what would be reachable from elsewhere: there are no real accounts here. Raises ValueError."""
        if self.host != "localhost" and not ip_address(self.host).is_loopback:
            message = f"the paper exchange listens on loopback only, not on {self.host}; use 127.0.0.1"
            raise ValueError(message)
        if not self.speed > 0:
            message = f"speed is a positive number, not {self.speed}"
            raise ValueError(message)

    def paper(self) -> PaperSettings:
        """What the matching core is told."""
        return PaperSettings(
            path=self.path,
            market=self.market,
            instruments=self.instruments,
            limits=self.limits,
            speed=self.speed,
            taker_fee_percent=self.taker_fee_percent,
            maximum_stops=self.maximum_stops,
        )


def market_id(symbol: str) -> str:
    """Binance's name of a symbol: `BTC/USDT:USDT` is BTCUSDT."""
    return symbol.partition(":")[0].replace("/", "")
