"""What one live account's configuration says: keys, where to, and how long to wait."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CcxtSettings:
    """One live account. Secrets are kept out of `repr`, so that no log line or error can show them.

    `endpoint` replaces every address of the exchange, REST and websocket, by one of the same dialect. `api_key` and
    `secret` (with `password` for OKX) or `wallet_address` and `private_key` (Hyperliquid) say whose account it is.
    """

    exchange: str
    account: str
    api_key: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    wallet_address: str = ""
    private_key: str = field(default="", repr=False)
    endpoint: str | None = None
    demo: bool = False

    request_timeout_seconds: float = 5.0
    queue_timeout_seconds: float = 4.0
    read_window_seconds: float = 5.0
    clock_every_seconds: float = 60.0
    check_every_seconds: float = 60.0
    reckon_every_seconds: float = 15.0
    retry_seconds: float = 2.0
    private_silence_seconds: float = 60.0
    price_silence_seconds: float = 15.0
    price_bound_seconds: float = 10.0

    @property
    def loopback(self) -> bool:
        """Whether the endpoint is on this machine: nothing of value is there."""
        return self.endpoint is not None and urlsplit(self.endpoint).hostname in LOOPBACK

    @property
    def live_money(self) -> bool:
        """Whether orders move real money."""
        return not self.demo and not self.loopback

    @property
    def secrets(self) -> tuple[str, ...]:
        """Everything that no text may ever show."""
        return tuple(text for text in (self.api_key, self.secret, self.password, self.private_key) if text)
