"""Who may come in: openings, slots, and commands for positions that run.

Part of the supervisor, used on its thread alone. A refusal is definite: nothing was changed.
"""

from actors.directory import Published
from actors.domain.model import Phase
from actors.domain.symbols import matching
from actors.managed import PREVIEW, Managed
from actors.messages import (
    AmendRequest,
    CloseRequest,
    Opened,
    OpenRequest,
    Refusal,
    SlotAnswer,
    SlotQuestion,
)
from actors.roster import Account, Roster
from actors.runtime.base import tell
from actors.traffic import AlsoAnswer, BeginOpening

LISTED = 12


def _some(names: list[str]) -> str:
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


def _symbols(account: Account) -> list[str]:
    return sorted(instrument.symbol for instrument in account.venue.instruments())


def _unknown_symbol(account: str, symbol: str, known: list[str]) -> Refusal:
    text = f"symbol: {symbol} is not traded on account {account}; it has {_some(known)}"
    return Refusal(code="unknown_symbol", message=text, field="symbol")


def _not_reconciled(account: str) -> Refusal:
    return Refusal(code="not_ready", message=f"account {account} is not reconciled yet; try again soon")


class Admission:
    """Answers requests of the edge, or hands them to the actor they concern."""

    def __init__(self, roster: Roster) -> None:
        """Works on the supervisor's roster."""
        self._roster = roster
        self._previews = 0

    def on_open(self, request: OpenRequest) -> None:
        """Refuse, recognise a repeat, or spawn the actor that opens it."""
        refusal = self._refuse_open(request)
        if refusal is not None:
            request.reply.set(refusal)
            return
        known = self._roster.managed.get(request.id)
        published = self._roster.parts.directory.positions.get(request.id)
        if not request.preview and (known is not None or published is not None):
            self._repeat(request, known, published)
            return
        taken = self._slot_refusal(request)
        if taken is not None:
            request.reply.set(taken)
            return
        self._previews += request.preview
        name = f"{PREVIEW}{self._previews}" if request.preview else request.id
        managed = Managed(account=request.account, symbol=request.symbol, ref=None, digest=request.digest, opening=True)
        self._roster.managed[name] = managed
        tell(self._roster.spawn_position(name, managed), BeginOpening(request=request))

    def _refuse_open(self, request: OpenRequest) -> Refusal | None:
        if self._roster.draining:
            return Refusal(code="not_ready", message="the service is draining; try again once it is back")
        account = self._roster.accounts.get(request.account)
        if account is None:
            return self._unknown_account(request.account)
        if not account.started:
            text = f"account {request.account}'s shard is not owned by this keeper (now); try again later"
            return Refusal(code="not_owner", message=text)
        if account.blocked:
            return Refusal(code="not_ready", message=f"account {request.account} cannot trade now: {account.blocked}")
        if not account.resumed:
            return _not_reconciled(request.account)
        if not account.has(request.symbol):
            return _unknown_symbol(request.account, request.symbol, _symbols(account))
        return None

    def _repeat(self, request: OpenRequest, known: Managed | None, published: Published | None) -> None:
        position = published.position if published else None
        digest = known.digest if known else (position.request_digest if position else "")
        if digest != request.digest:
            text = f"id {request.id} was used before for another request; choose a new one"
            request.reply.set(Refusal(code="id_taken", message=text, field="id"))
        elif known is not None and known.ref is not None and not known.quarantined:
            if not tell(known.ref, AlsoAnswer(request=request)):
                request.reply.set(Refusal(code="not_ready", message="the position is being restarted; try again"))
        elif published is not None:
            request.reply.set(Opened(published=published, repeated=True))
        else:
            request.reply.set(Refusal(code="not_ready", message="the position is being restarted; try again"))

    def on_slot_question(self, question: SlotQuestion) -> None:
        """Say who holds the slot that is meant."""
        account = self._roster.accounts.get(question.account)
        if account is None:
            question.reply.set(self._unknown_account(question.account))
        elif not account.resumed:
            question.reply.set(_not_reconciled(question.account))
        else:
            question.reply.set(self._slot_meant(account, question.symbol))

    def _slot_meant(self, account: Account, symbol: str) -> SlotAnswer | Refusal:
        name, known = account.settings.name, _symbols(account)
        found = matching(symbol, known)
        if len(found) == 1:
            return SlotAnswer(symbol=found[0], position_id=self._roster.managed.holder(name, found[0]) or "")
        if found:
            text = f"symbol: {symbol} may be {' or '.join(found)}; write it so"
            return Refusal(code="ambiguous_symbol", message=text, field="symbol")
        return _unknown_symbol(name, symbol, known)

    def _unknown_account(self, name: str) -> Refusal:
        names = ", ".join(self._roster.accounts)
        text = f"account: there is no account {name}; configured: {names}"
        return Refusal(code="unknown_account", message=text, field="account")

    def _slot_refusal(self, request: OpenRequest) -> Refusal | None:
        position_id = self._roster.managed.holder(request.account, request.symbol)
        if position_id is not None:
            published = self._roster.parts.directory.positions.get(position_id)
            position = published.position if published else None
            if position is not None and position.phase is Phase.CLOSING:
                text = f"position {position_id} is still closing there; try again once its orders are read back"
                return Refusal(code="closing", message=text, field="symbol")
            text = f"position {position_id} holds {request.symbol} on account {request.account}; one in each slot"
            return Refusal(code="slot_taken", message=text, field="symbol")
        account = self._roster.accounts[request.account]
        if self._roster.parts.runtime.clock.monotonic() < account.late_until.get(request.symbol, 0.0):
            text = "orders of a former life of this slot may still arrive; try again in a few seconds"
            return Refusal(code="closing", message=text, field="symbol")
        return None

    def on_command(self, request: CloseRequest | AmendRequest) -> None:
        """Hand it to the position's actor, or say why not."""
        managed = self._roster.managed.get(request.position_id)
        if managed is None:
            published = self._roster.parts.directory.positions.get(request.position_id)
            position = published.position if published else None
            if published is None:
                text = f"there is no position {request.position_id}"
                request.reply.set(Refusal(code="not_found", message=text))
            elif position is None or position.phase is not Phase.CLOSED:
                text = f"position {request.position_id} is not managed by this keeper now; ask the one that owns it"
                request.reply.set(Refusal(code="not_owner", message=text))
            else:
                text = f"position {request.position_id} is closed already"
                request.reply.set(Refusal(code="closed", message=text))
        elif managed.quarantined:
            text = f"position {request.position_id} is quarantined; manage it on the exchange"
            request.reply.set(Refusal(code="quarantined", message=text))
        elif managed.ref is None or not tell(managed.ref, request):
            text = f"position {request.position_id} is being restarted; try again in a moment"
            request.reply.set(Refusal(code="not_ready", message=text))
