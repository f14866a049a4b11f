"""Faults of the rules: what a position decides, books, and makes of what the venue says."""

from tests.simulation.planting import Edit, Plant

ORDERS, OUTCOMES, BOOKING = "actors.domain.orders", "actors.domain.outcomes", "actors.domain.booking"
STEP, PRICES, RECONCILE = "actors.domain.step", "actors.domain.prices", "actors.domain.reconcile"

ON_BOOT = "step.change(terms=shared(event.terms), instrument=event.instrument, reconciling=True)"


def _on_boot(forgets: str) -> Edit:
    return Edit(target=f"{OUTCOMES}:on_recovered", old=ON_BOOT, new=f"{ON_BOOT[:-1]}, {forgets})")


RULES: tuple[Plant, ...] = (
    Plant(
        name="random client ids",
        breaks="an order decided again after a crash has another id, so that the first one is not found",
        edits=(
            Edit(
                target=f"{STEP}:Step.plan_order",
                old="client_order_id(position.order_tag, position.id, leg, generation)",
                new="position.order_tag + f\"{__import__('random').getrandbits(96):024x}\"",
            ),
        ),
    ),
    Plant(
        name="look-up in the wrong order class",
        breaks="stops are looked for among the plain orders, and concluded to be absent while they rest",
        edits=(Edit(target=f"{STEP}:Step.look_up", old="kind=intent.kind", new="kind=OrderKind.MARKET"),),
    ),
    Plant(
        name="stop loosened by the trail",
        breaks="the stop follows the trail also where that is against the position",
        edits=(
            Edit(
                target=f"{STEP}:Step.tighten_stop",
                old="position.side.sign * (price - current) <= 0",
                new="price == current",
            ),
        ),
    ),
    Plant(
        name="resize skipped",
        breaks="the resident stop keeps its size when a part of the position has been closed",
        edits=(
            Edit(
                target=f"{ORDERS}:_work_resident",
                old="resized = newest is not None and newest.quantity != quantity",
                new="resized = False",
            ),
        ),
    ),
    Plant(
        name="cancel before create",
        breaks="the old stop is cancelled before the new one has been read back",
        edits=(
            Edit(
                target=f"{ORDERS}:_work_resident",
                old="    _create_resident(step, at)",
                new="    [step.cancel(old) for old in active]; _create_resident(step, at)",
            ),
        ),
    ),
    Plant(
        name="partials side by side",
        breaks="a partial goes out while another exit order is still under way",
        edits=(
            Edit(
                target=f"{ORDERS}:_work_partials",
                old='if any(in_flight(i) for i in position.intents if not i.resident and i.leg != "entry"):',
                new="if False:",
            ),
        ),
    ),
    Plant(
        name="a full close asks for the original quantity",
        breaks="a full close asks for more than what remains",
        edits=(
            Edit(
                target=f"{ORDERS}:_work_full_close",
                old="reason, position.remaining, generation",
                new="reason, position.quantity, generation",
            ),
        ),
    ),
    Plant(
        name="full closes side by side",
        breaks="a full close is asked for again while the first one is under way",
        edits=(
            Edit(
                target=f"{ORDERS}:_work_full_close",
                old="if any(intent.live for intent in closes):",
                new="if False:",
            ),
        ),
    ),
    Plant(
        name="a close among others sent unsaved",
        breaks="a full close leaves before it is durable where somebody else holds more, and two lives send it",
        edits=(
            Edit(
                target=f"{ORDERS}:_work_full_close",
                old="if owed is None:",
                new="if shared and not _rests_gone(step):\n        return\n    if owed is None:",
            ),
            Edit(target=f"{ORDERS}:_work_full_close", old="urgent=known or not shared", new="urgent=True"),
            Edit(
                target="actors.outbox:may_leave_unsaved",
                old="if not submit.urgent or position is None or position.excess <= 0:",
                new="if True:",
            ),
        ),
    ),
    Plant(
        name="a close among others unsaved once it may go",
        breaks="a full close that waited for a partial leaves before it is durable where that ends before the save",
        edits=(
            Edit(
                target="actors.outbox:may_leave_unsaved",
                old="if not submit.urgent or position is None or position.excess <= 0:",
                new="if True:",
            ),
        ),
    ),
    Plant(
        name="slot freed too early",
        breaks="a position ends while orders of it may still be at the exchange",
        edits=(
            Edit(
                target=f"{ORDERS}:_work_end",
                old="if any(intent.live for intent in step.position.intents):",
                new="if False:",
            ),
        ),
    ),
    Plant(
        name="price bound ignored",
        breaks="an owed partial goes out at whatever price",
        edits=(
            Edit(target=f"{ORDERS}:_work_partials", old="if not in_bound(position, intent):", new="if False:"),
            Edit(
                target=f"{OUTCOMES}:overtaken_by_price",
                old="any(not in_bound(position, intent) for intent in own)",
                new="False",
            ),
        ),
    ),
    Plant(
        name="resend without look-up",
        breaks="an order without an answer is sent again at once",
        edits=(
            Edit(
                target=f"{OUTCOMES}:on_unknown",
                old="step.change_intent(intent.client_order_id, status=IntentStatus.UNKNOWN)",
                new="step.change_intent(intent.client_order_id, status=IntentStatus.PLANNED)",
            ),
        ),
    ),
    Plant(
        name="resend without look-up after a restart",
        breaks="what a crash left without an outcome is sent again instead of being looked for",
        edits=(
            Edit(
                target=f"{OUTCOMES}:on_recovered",
                old="step.look_up(intent, proof=True)",
                new="step.change_intent(intent.client_order_id, status=IntentStatus.PLANNED)",
            ),
            Edit(
                target="actors.recovery:Recovery.begin",
                old="{intent.client_order_id for intent in position.intents if not intent.status.terminal}",
                new="set()",
            ),
        ),
    ),
    Plant(
        name="unwanted effects released",
        breaks="an order goes out though the acknowledged state does not want it any more",
        edits=(
            Edit(
                target=f"{OUTCOMES}:wanted",
                old="return not intent.status.terminal and not intent.cancel_requested and not superseded",
                new="return True",
            ),
        ),
    ),
    Plant(
        name="peak reset on boot",
        breaks="after a restart the trail begins anew",
        edits=(_on_boot("peak_price=step.position.peak_price and step.position.entry_price"),),
    ),
    Plant(
        name="extremes reset on boot",
        breaks="after a restart MAE and MFE begin anew",
        edits=(_on_boot("mae=step.position.mfe and replace(step.position.mfe, price=step.position.entry_price)"),),
    ),
    Plant(
        name="target actions lost on crash",
        breaks="after a restart the stop is the plan's again, whatever the targets have made of it",
        edits=(_on_boot("stop_price=step.position.initial_stop_price"),),
    ),
    Plant(
        name="trail forgotten on crash",
        breaks="after a restart the trail is not armed: the incident that this product is for",
        edits=(_on_boot("trailing_stop_active=False"),),
    ),
    Plant(
        name="hits forgotten on crash",
        breaks="after a restart no target is hit",
        edits=(_on_boot("targets=tuple(replace(target, hit=False) for target in step.position.targets)"),),
    ),
    Plant(
        name="former owner's stop left",
        breaks="a new owner keeps the stop by which the former one would still act",
        edits=(Edit(target=f"{OUTCOMES}:on_recovered", old="if event.takeover:", new="if False:"),),
    ),
    Plant(
        name="fills not deduplicated",
        breaks="a trade that is told twice is booked twice",
        edits=(
            Edit(
                target=f"{BOOKING}:_add_fill",
                old="next((fill for fill in position.fills if fill.trade_id == trade.trade_id), None)",
                new="None",
            ),
        ),
    ),
    Plant(
        name="report ahead of its trades believed",
        breaks="an order's end is taken in before what it executed",
        edits=(Edit(target=f"{BOOKING}:on_order_reported", old="intent.filled < event.filled", new="False"),),
    ),
    Plant(
        name="generation raised on one read",
        breaks="one read that shows an order short is enough to ask for what is missing",
        edits=(
            Edit(
                target="actors.domain.limits:short_is_confirmed",
                old="if event.read_back and intent.reads >= 1 and not news:",
                new="if event.read_back:",
            ),
        ),
    ),
    Plant(
        name="a new generation asks for everything",
        breaks="an order that ended short is followed by one for the whole leg",
        edits=(
            Edit(target=f"{BOOKING}:_end_reduction", old="min(done.quantity - done.filled,", new="min(done.quantity,"),
        ),
    ),
    Plant(
        name="owed is not what is missing",
        breaks="what a leg has booked is not taken off what it may still close",
        edits=(
            Edit(
                target="actors.domain.shares:owed_to",
                old="return asked - sum((fill.quantity for fill in position.fills if fill.leg == leg), ZERO)",
                new="return asked",
            ),
        ),
    ),
    Plant(
        name="one read believed",
        breaks="a position that one read shows smaller is taken to be smaller",
        edits=(Edit(target=f"{RECONCILE}:on_observed", old="elif not repeated:", new="elif False:"),),
    ),
    Plant(
        name="a size judged while orders are under way",
        breaks="what an order of ours is just doing is taken for somebody else's",
        edits=(
            Edit(
                target=f"{RECONCILE}:on_observed",
                old="if doubtful or any(in_flight(intent) for intent in position.intents if not intent.resident):",
                new="if doubtful:",
            ),
        ),
    ),
    Plant(
        name="unsaved close not recognised",
        breaks="a full close that left before it was saved is taken for somebody else's",
        edits=(
            Edit(
                target=f"{RECONCILE}:_lost_close",
                old="if not trade.client_order_id.startswith(position.order_tag):",
                new="if True:",
            ),
        ),
    ),
    Plant(
        name="resting target closed in software too",
        breaks="a target whose order rests at the exchange is also closed at the market when its price is passed",
        edits=(
            Edit(
                target=f"{PRICES}:waits_for_its_fill",
                old="return rests(planned, target) and",
                new="return False and",
            ),
            Edit(target=f"{PRICES}:hit_target", old="if not rests(planned, target):", new="if True:"),
        ),
    ),
    Plant(
        name="a decided close not recognised",
        breaks="a full close that left before it was saved is sent again where the decision itself was saved",
        edits=(
            Edit(target=f"{RECONCILE}:_lost_close", old="if position.closing_reason is not None:", new="if False:"),
        ),
    ),
    Plant(
        name="a partial left beside a full close",
        breaks="where the venue holds more than we track, the rest of a partial is filled beside a full close",
        edits=(
            Edit(target=f"{ORDERS}:_work_full_close", old="_cancel_partials(step)", new="pass"),
            Edit(
                target=f"{ORDERS}:_rests_gone",
                old="if intent.reduce_only and not intent.full and intent.live",
                new="if (intent.resident or intent.kind is OrderKind.LIMIT) and intent.live",
            ),
        ),
    ),
    Plant(
        name="a partial beside a stop that reaches too far",
        breaks="where the venue holds more than we track, a partial goes before the stop is cut down",
        edits=(
            Edit(
                target=f"{ORDERS}:_work_partials",
                old="if position.excess > 0 and _stop_reaches_beyond(position):",
                new="if False:",
            ),
        ),
    ),
    Plant(
        name="an excess not told while the entry fills",
        breaks="somebody else's holding is not seen before the entry has ended, and two stops rest side by side",
        edits=(Edit(target=f"{RECONCILE}:on_observed", old="_tell_excess(step, event)", new="pass"),),
    ),
    Plant(
        name="a dispute left to the next look around",
        breaks="what is owed waits for half a minute because an order was under way as a disputed size was read",
        edits=(Edit(target=f"{RECONCILE}:on_observed", old="elif position.disputed:", new="elif False:"),),
    ),
)
