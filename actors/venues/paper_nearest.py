"""How far the nearest orders at rest are, in memory: nearly every price reaches none, and searches nothing."""

from dataclasses import dataclass
from decimal import Decimal
from math import inf

from actors.domain.model import OrderSide


@dataclass(slots=True)
class Nearest:
    """How far the nearest orders at rest of a symbol are: no price short of all four executes any. Never too far."""

    stop_below: float = -inf
    stop_above: float = inf
    limit_below: float = -inf
    limit_above: float = inf

    @classmethod
    def of(
        cls,
        stop_below: float | None,
        stop_above: float | None,
        limit_below: float | None,
        limit_above: float | None,
    ) -> "Nearest":
        """As found; None where there is none."""
        return cls(
            stop_below=-inf if stop_below is None else stop_below,
            stop_above=inf if stop_above is None else stop_above,
            limit_below=-inf if limit_below is None else limit_below,
            limit_above=inf if limit_above is None else limit_above,
        )

    def is_out_of_reach(self, under: float, over: float) -> bool:
        """Whether prices between these reach none of them."""
        return max(self.stop_below, self.limit_below) < under and over < min(self.stop_above, self.limit_above)

    def take_in(self, side: OrderSide, stop: Decimal | None, limit: Decimal | None) -> None:
        """A further order rests."""
        sells = side is OrderSide.SELL
        if stop is not None and sells:
            self.stop_below = max(self.stop_below, float(stop))
        elif stop is not None:
            self.stop_above = min(self.stop_above, float(stop))
        if limit is not None and sells:
            self.limit_above = min(self.limit_above, float(limit))
        elif limit is not None:
            self.limit_below = max(self.limit_below, float(limit))
