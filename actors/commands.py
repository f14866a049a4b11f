"""What people ask of one position: closes and amendments, answered once they are durable."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from actors.directory import Published
from actors.domain.errors import CommandRefused, DomainError, PlanRefused
from actors.domain.events import AmendPlan, CloseManually
from actors.domain.plans import parse_plan
from actors.messages import Amended, AmendRequest, CloseAccepted, CloseRequest, Opened, Refusal
from actors.runtime.base import Reply
from actors.traffic import AlsoAnswer

if TYPE_CHECKING:
    from actors.opening import Opening
    from actors.position import PositionActor


def close(actor: "PositionActor", message: CloseRequest) -> None:
    """Close a fraction; a repeat of a request id is answered like the first."""
    event = CloseManually(at=actor.event_time(), fraction=message.fraction, request_id=message.request_id)

    def answer(published: Published) -> None:
        requests = published.position.close_requests if published.position else ()
        wanted_id = message.request_id
        for request in reversed(requests):
            if not wanted_id or request.request_id == wanted_id:
                message.reply.set(
                    CloseAccepted(leg=request.leg, request_id=request.request_id, quantity=request.quantity)
                )
                return

    _command(actor, event, message.reply, answer)


def amend(actor: "PositionActor", message: AmendRequest) -> None:
    """Replace the plan, if the caller knows the present version (or does not care)."""
    stale = message.expected_version is not None and message.expected_version != actor.version
    if stale or (message.expected_version is not None and _amending(actor)):
        text = f"the position is at version {actor.version}, not {message.expected_version}; read it and try again"
        message.reply.set(Refusal(code="stale_version", message=text))
        return
    try:
        plan = parse_plan(message.body, numbers=True)
    except PlanRefused as error:
        message.reply.set(refusal_of(error))
        return
    event = AmendPlan(
        at=actor.event_time(),
        plan=plan,
        allow_looser_stop=message.allow_looser_stop,
        act_now=message.act_now,
    )
    _command(actor, event, message.reply, lambda published: message.reply.set(Amended(published=published)))


def _command(
    actor: "PositionActor", event: CloseManually | AmendPlan, reply: Reply, answer: Callable[[Published], None]
) -> None:
    if actor.position is None or actor.position.reconciling:
        reply.set(Refusal(code="not_ready", message="the position is not reconciled yet; try again in a moment"))
        return
    try:
        actor.apply(event, answer)
    except DomainError as error:
        reply.set(refusal_of(error))


def _amending(actor: "PositionActor") -> bool:
    """Whether an amendment is accepted and not yet acknowledged: the version a caller knows is then out of date."""
    published = actor.parts.directory.positions.acknowledged(actor.parts.position_id)
    if actor.position is None or published is None or published.position is None:
        return False
    return actor.position.plan_revision != published.position.plan_revision


def refusal_of(error: DomainError) -> Refusal:
    """A domain error as the edge's answer."""
    if isinstance(error, CommandRefused):
        return Refusal(code=error.code, message=error.message, field=error.field)
    if isinstance(error, PlanRefused):
        first = error.faults[0]
        return Refusal(code=first.code, message=first.message, field=first.field, faults=error.faults)
    return Refusal(code="refused", message=str(error))


def also_answer(actor: "PositionActor", opening: "Opening | None", message: AlsoAnswer) -> None:
    """A repeat of the opening request, perhaps while the first is still under way."""
    reply = message.request.reply
    if opening is not None and actor.position is None:
        opening.also(reply)
    elif actor.version:
        published = actor.parts.directory.positions[actor.parts.position_id]
        reply.set(Opened(published=published, repeated=True))
    else:
        actor.answer_once_saved(lambda published: reply.set(Opened(published=published, repeated=True)))


def refuse_late(message: object) -> None:
    """A request that reaches an actor which has ended."""
    if isinstance(message, CloseRequest | AmendRequest):
        message.reply.set(Refusal(code="closed", message=f"position {message.position_id} is closed already"))
