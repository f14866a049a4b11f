"""What kinds of intents a position has, counted in one pass.

After every event a dozen rules ask whether there is anything of theirs among the intents, and nearly always there is
not. A census answers them all; it counts for as long as the intents are the very same.
"""

from actors.domain.model import Intent, IntentStatus, OrderKind

_PLANNED = IntentStatus.PLANNED
_LIMIT = OrderKind.LIMIT


class Census:
    """`planned`: one waits to be sent. `limits`: one is, or was, a target's order at rest. `exit_live`: an order that
    reduces may exist at the venue, resident stops apart. `residents`: the resident stops that have not ended.
    """

    __slots__ = ("exit_live", "intents", "limits", "planned", "residents")

    def __init__(self, intents: tuple[Intent, ...]) -> None:
        self.intents = intents
        self.planned = self.limits = self.exit_live = False
        self.residents: list[Intent] = []
        for intent in intents:
            if intent.kind is _LIMIT:
                self.limits = True
            if intent.status is _PLANNED:
                self.planned = True
            if not intent.ended:
                if intent.resident:
                    self.residents.append(intent)
                elif intent.live and intent.leg != "entry":
                    self.exit_live = True
