"""Faults of the actors: when effects go, what an answer means, how a keeper comes back, what its lease allows."""

from tests.simulation.planting import Edit, Plant

GATEWAY, RECOVERY = "actors.gateway:GatewayActor", "actors.recovery:Recovery"
INQUIRIES = "actors.inquiries:Inquiries"

ACTORS: tuple[Plant, ...] = (
    Plant(
        name="act before save",
        breaks="a partial leaves before the state that decided it is saved",
        edits=(
            Edit(
                target="actors.position:PositionActor.take",
                old="if isinstance(effect, Submit) and may_leave_unsaved(self, effect):",
                new="if isinstance(effect, Submit):",
            ),
        ),
    ),
    Plant(
        name="shown before saved",
        breaks="people are shown a state that a crash could take back",
        edits=(
            Edit(
                target="actors.position:PositionActor.take",
                old="self.listening.arm_wake(after)",
                new="self.publish(after); self.listening.arm_wake(after)",
            ),
        ),
    ),
    Plant(
        name="epoch not compared on release",
        breaks="a life whose shard was taken again lets go what was saved under the later epoch",
        edits=(
            Edit(
                target="actors.position:PositionActor._on_saved",
                old="if message.epoch != self.parts.epoch:",
                new="if False:",
            ),
        ),
    ),
    Plant(
        name="no reconcile",
        breaks="after a restart the slot is not read before prices are acted on",
        edits=(
            Edit(
                target=f"{RECOVERY}._when_looked_up",
                old="self._actor.read_slot()",
                new="self._recovering = False; "
                "self._actor.apply(Reconciled(at=self._actor.event_time(), quote=None)); "
                "self._actor.publish_acknowledged(); self._actor.manage(); "
                "tell(self._actor.parts.supervisor, Recovered(position_id=self._actor.position.id))",
            ),
        ),
    ),
    Plant(
        name="no stash",
        breaks="prices are acted on before a position is reconciled",
        edits=(
            Edit(
                target=f"{RECOVERY}.begin",
                old="self._when_looked_up()",
                new="actor.listening.begin(); self._when_looked_up()",
            ),
            Edit(
                target="actors.domain.orders:work",
                old="or position.reconciling:",
                new=":",
            ),
            Edit(
                target="actors.domain.watch:watch_of",
                old="if held and not position.reconciling:",
                new="if held:",
            ),
        ),
    ),
    Plant(
        name="timeout read as refusal",
        breaks="an order without an answer is concluded not to be executed",
        edits=(
            Edit(
                target=f"{GATEWAY}._unknown",
                old="tell(request.reply_to, OrderUnknown(at=self._event_time(request.symbol), "
                "client_order_id=order_id))",
                new='self._refuse(request, "timeout", "no answer in time"); return',
            ),
        ),
    ),
    Plant(
        name="expiry not honoured",
        breaks="an order that cannot be found counts as absent while its request may still arrive",
        edits=(
            Edit(
                target=f"{INQUIRIES}.settle",
                old="(now if sent_at is None else sent_at) + self._expiry_seconds",
                new="now",
            ),
            Edit(
                target=f"{INQUIRIES}.begin",
                old="now if sent_at is None else sent_at + self._expiry_seconds",
                new="now",
            ),
            Edit(target=f"{INQUIRIES}.begin", old="if look_up.proof and sent_at is None:", new="if False:"),
        ),
    ),
    Plant(
        name="absent on one read",
        breaks="an order that one read does not show counts as absent",
        edits=(Edit(target=f"{INQUIRIES}._on_answer", old="inquiry.absent_reads >= ABSENT_READS", new="True"),),
    ),
    Plant(
        name="lost cancels not followed",
        breaks="a cancel without an answer is not looked into",
        edits=(
            Edit(
                target=f"{GATEWAY}._look_up_after",
                old="self._inquiries.settle(request.symbol, cancel.client_order_id, cancel.kind, request.reply_to)",
                new="pass",
            ),
        ),
    ),
    Plant(
        name="signs past its lease",
        breaks="a keeper sends though its lease has run out",
        edits=(
            Edit(
                target=f"{GATEWAY}._sign",
                old="if left <= settings.request_expiry_seconds + settings.clock_skew_seconds:",
                new="if False:",
            ),
        ),
    ),
    Plant(
        name="a later life's lease signed under",
        breaks="a life whose shard was taken again sends under the lease of the next one",
        edits=(Edit(target=f"{GATEWAY}._sign", old="epoch=self._parts.epoch", new="epoch=None"),),
    ),
    Plant(
        name="price not looked at again",
        breaks="a keeper that stands still between letting a partial go and signing it sells by the price of before",
        edits=(Edit(target="actors.gateway_parts:GatewayParts.overtaken", old="if bound is None:", new="if True:"),),
    ),
    Plant(
        name="lease checked before the time is read",
        breaks="a keeper that freezes between its look at the lease and the sending signs with a fresh time",
        edits=(Edit(target=f"{GATEWAY}._sign", old="return signed_at", new="return self._parts.clock.now()"),),
    ),
    Plant(
        name="closes past its lease without a look",
        breaks="past its lease a keeper closes though its stop no longer rests",
        edits=(
            Edit(
                target="actors.past_lease:PastLease.on_answer",
                old="if self._fenced() or not resting.intersection(send.guards):",
                new="if False:",
            ),
        ),
    ),
    Plant(
        name="slot free at once after a restart",
        breaks="a new position may begin while orders of a former life can still arrive",
        edits=(
            Edit(
                target="actors.supervisor:SupervisorActor._recover",
                old="now + settings.request_expiry_seconds + settings.clock_skew_seconds",
                new="now",
            ),
        ),
    ),
    Plant(
        name="lagging reads believed",
        breaks="a read that may be older than what was just booked is judged by",
        edits=(Edit(target=f"{RECOVERY}.on_slot", old="if self._too_fresh():", new="if False:"),),
    ),
    Plant(
        name="a price on its way forgotten",
        breaks="what is heard before a price that is on its way ends a position without the extremes that it tells",
        edits=(Edit(target="actors.listening:Listening.catch_up", old="if missed is not None:", new="if False:"),),
    ),
    Plant(
        name="a former market's price shown",
        breaks="a market whose account has begun anew still says what the latest price is",
        edits=(
            Edit(
                target="actors.market:MarketActor._publish",
                old="if self._parts.directory.desks.get(name, self._parts.desk) is not self._parts.desk:",
                new="if False:",
            ),
        ),
    ),
    Plant(
        name="reads without our own trade believed",
        breaks="two reads that lack our latest trade are believed though they follow each other",
        edits=(Edit(target=f"{RECOVERY}.on_slot", old="behind=is_behind(position, slot)", new="behind=False"),),
    ),
)
