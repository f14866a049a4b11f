"""What an account's configuration says to the actors."""

from dataclasses import dataclass
from decimal import Decimal

from actors.domain.model import Source, Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSettings:
    """One account. Its shard is its own unless configured otherwise; seconds are wall seconds,
    percents of the price.
    """

    name: str
    shard: str
    max_deviation_percent: Decimal = Decimal(2)
    resident_interval_seconds: Decimal = Decimal(5)
    resident_step_percent: Decimal = Decimal("0.1")
    request_expiry_seconds: float = 5.0
    clock_skew_seconds: float = 1.0
    feed_stale_seconds: float = 30.0

    def terms(self, stop_triggers: tuple[Source, ...]) -> Terms:
        """What it and its venue say about its orders."""
        return Terms(
            resident_interval_seconds=self.resident_interval_seconds,
            resident_step_percent=self.resident_step_percent,
            stop_triggers=stop_triggers,
        )
