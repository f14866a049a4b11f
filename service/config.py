"""What the service is told: exitkeeper.toml, overridden by EXITKEEPER_*, as frozen values.

They are made by service/config_load.py, whole or not at all. Secrets are kept out of every `repr`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Final

from actors.domain.model import Plan
from actors.settings import AccountSettings
from persistence.address import secrets_of

DEFAULT_PORT: Final = 8321


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisConfig:
    """Where Redis is, as persistence/address.py reads it; without a URL the service runs one in the data directory."""

    url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig:
    """Where the HTTP API listens. Without a token only a loopback address is allowed."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhooksConfig:
    """The secret that a webhook's body must name; without one no webhook is taken."""

    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkConfig:
    """A simulated symbol. Volatility and drift are annual fractions; waypoints are (seconds since the start, price)."""

    price: Decimal
    volatility: Decimal
    drift: Decimal = Decimal(0)
    seed: str | None = None
    interval_seconds: Decimal = Decimal(1)
    waypoints: tuple[tuple[Decimal, Decimal], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketConfig:
    """A paper account's prices: CSV files or random walks, by symbol. `speed` None is "max" (lockstep), 60 is "60x".

    `ledger` is the exchange's file where several keepers trade on it; `control` a file of faults, for tests.
    """

    replay: Mapping[str, Path] = field(default_factory=dict)
    random_walk: Mapping[str, WalkConfig] = field(default_factory=dict)
    speed: Decimal | None = Decimal(1)
    ledger: Path | None = None
    control: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentConfig:
    """What a paper symbol allows, where it shall differ from the default (None)."""

    tick_size: Decimal | None = None
    quantity_step: Decimal | None = None
    minimum_quantity: Decimal | None = None
    minimum_notional: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveConfig:
    """How an account signs at a real exchange. `endpoint` is another place that speaks that exchange's language, such
    as `exitkeeper exchange`; `demo` is the exchange's own paper trading.
    """

    api_key: str | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    wallet_address: str | None = None
    private_key: str | None = field(default=None, repr=False)
    endpoint: str | None = None
    demo: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountConfig:
    """One account: its venue, what the actors need to know of it, and (paper) its market."""

    venue: str
    settings: AccountSettings
    market: MarketConfig = field(default_factory=MarketConfig)
    instruments: Mapping[str, InstrumentConfig] = field(default_factory=dict)
    taker_fee_percent: Decimal | None = None
    lease_ttl_seconds: float | None = None
    live: LiveConfig | None = None

    @property
    def name(self) -> str:
        """The account's name."""
        return self.settings.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole configuration. `path` is the file it came from, None when there was none."""

    data_dir: Path
    redis: RedisConfig
    http: HttpConfig
    accounts: Mapping[str, AccountConfig]
    plans: Mapping[str, Plan]
    webhooks: WebhooksConfig = field(default_factory=WebhooksConfig)
    path: Path | None = None

    def secrets(self) -> tuple[str, ...]:
        """Every value that must never be logged."""
        found = [self.http.token, self.webhooks.secret]
        for account in self.accounts.values():
            live = account.live
            if live is not None:
                found += [live.api_key, live.secret, live.password, live.private_key]
        if self.redis.url:
            found += secrets_of(self.redis.url)
        return tuple(value for value in found if value)
