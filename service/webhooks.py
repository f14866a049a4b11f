"""POST /v1/webhooks/tradingview: a signal becomes an opening or a close, once, and is answered once that is durable.

Nothing of a signal is remembered here: an entry's position has the signal's key as its id, a close as its request
id, and both are in the position's snapshot. So a signal that comes again, after any restart, finds what it did.
"""

import asyncio
import time
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from actors.directory import Published
from actors.domain.model import Position, Side
from actors.messages import (
    CloseAccepted,
    CloseRequest,
    Opened,
    OpenRequest,
    Refusal,
    SlotAnswer,
    SlotQuestion,
)
from service import http_models as models
from service.api_positions import not_done
from service.http_answers import ApiError, answer, unavailable
from service.http_ask import Api
from service.http_body import check_query, read_object
from service.signals import Signal, check_secret, read_signal, share_of
from service.views import position_view

# TradingView gives up after three seconds; we promise an answer within one.
ANSWER_SECONDS: Final = 0.9
_LOOK_SECONDS: Final = 0.05
_REPEAT: Final = "repeat the same signal: it acts once"


def webhooks_router(api: Api, secret: str | None) -> APIRouter:
    """POST /v1/webhooks/tradingview."""
    router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])

    @router.post(
        "/tradingview",
        summary="A TradingView alert",
        openapi_extra={**models.body_of(models.WebhookBody), "security": []},
        responses={
            200: {"model": models.WebhookAnswer, "description": "Nothing to do, or a repeat"},
            201: {"model": models.WebhookAnswer, "description": "The entry intent is durable"},
            202: {"model": models.WebhookAnswer, "description": "The close is durable"},
            **models.errors(400, 409, 413, 422, 429, 503, 504),
        },
    )
    async def tradingview(request: Request) -> Response:
        """Enter or exit as an alert says. A repeated `signal_id` (without one, the same body) acts once.

        A 503 may be repeated, as TradingView does by itself: the signal was not, or not wholly, carried out.
        """
        check_query(request, ())
        body = await read_object(request, exact=True)
        check_secret(body, secret)
        accounts = {name: status.live_money for name, status in api.directory.accounts.items()}
        if not accounts:
            raise unavailable("not_ready", "no account has started yet; send it again")
        signal = read_signal(body, plans=api.plans, accounts=accounts, now=api.now())
        return await _Handling(api, signal).carry_out()

    return router


class _Handling:
    """One signal on its way."""

    def __init__(self, api: Api, signal: Signal) -> None:
        self._api = api
        self._signal = signal
        self._deadline = time.monotonic() + ANSWER_SECONDS

    async def carry_out(self) -> Response:
        """Do what the signal asks for, or say why not."""
        slot = await self._slot()
        held = self._api.directory.positions.get(slot.position_id) if slot.position_id else None
        if self._signal.enters:
            return await self._enter(slot, held)
        if slot.position_id and held is None:
            raise unavailable("not_ready", f"position {slot.position_id} is just being opened ({_REPEAT})")
        return await self._exit(held)

    async def _slot(self) -> SlotAnswer:
        signal = self._signal
        said = await self._ask(lambda reply: SlotQuestion(account=signal.account, symbol=signal.symbol, reply=reply))
        if isinstance(said, SlotAnswer):
            return said
        raise not_done(said)

    # -- entries ---------------------------------------------------------------------------------------------------

    async def _enter(self, slot: SlotAnswer, held: Published | None) -> Response:
        signal = self._signal
        if signal.key in self._api.directory.positions:
            # It has acted: whatever holds the slot by now is none of its business.
            return await self._open(slot, patient=False)
        closed = self._closed_by_this(held)
        if closed is not None and signal.on_opposite != "reverse":
            return self._answer("repeated", closed)
        opposite = _side(held) not in (None, signal.side)
        if opposite:
            if signal.on_opposite == "refuse":
                text = (
                    f"position {slot.position_id} on the other side holds {slot.symbol}; close it, or send on_opposite"
                )
                raise ApiError(409, "opposite_position", text, field="on_opposite")
            leg = await self._close(held, partial=False)
            if signal.on_opposite == "close":
                return self._answer("closing", held, 202, leg)
        return await self._open(slot, patient=opposite)

    async def _open(self, slot: SlotAnswer, *, patient: bool) -> Response:
        """Open; `patient`: the slot is about to be free, and waited for a moment."""
        while True:
            said = await self._ask(lambda reply: self._opening(slot.symbol, reply))
            if isinstance(said, Opened):
                return self._answer(
                    "repeated" if said.repeated else "opened", said.published, 0 if said.repeated else 201
                )
            taken = isinstance(said, Refusal) and said.code in ("closing", "slot_taken")
            if not (taken and patient):
                raise not_done(said)
            if time.monotonic() + 2 * _LOOK_SECONDS > self._deadline:
                text = f"the former position of {slot.symbol} is being closed; to enter after it, send the signal again"
                raise unavailable("closing", text)
            await asyncio.sleep(_LOOK_SECONDS)

    def _opening(self, symbol: str, reply: Any) -> OpenRequest:
        signal = self._signal
        if signal.plan is None:
            raise TypeError("an entry has a plan")
        return OpenRequest(
            id=signal.key,
            account=signal.account,
            symbol=symbol,
            side=signal.side,
            quantity=signal.quantity,
            plan=signal.plan,
            digest=signal.digest,
            tags=signal.tags,
            reply=reply,
        )

    # -- exits -----------------------------------------------------------------------------------------------------

    async def _exit(self, held: Published | None) -> Response:
        signal = self._signal
        if signal.key in self._api.directory.positions:
            text = f"signal_id {signal.signal_id or '(none)'} was used for an entry; give each signal an id of its own"
            raise ApiError(409, "id_taken", text, field="signal_id")
        closed = self._closed_by_this(held)
        if closed is not None:
            return self._answer("repeated", closed)
        if held is None or signal.side not in (None, _side(held)):
            return self._answer("nothing_to_do", None)
        leg = await self._close(held, partial=True)
        return self._answer("closing", held, 202, leg)

    async def _close(self, held: Published | None, *, partial: bool) -> str:
        """Close by hand, with the signal's key as the request id; the leg."""
        if held is None or held.position is None:
            raise unavailable("not_ready", "the position that is there cannot be read; look at its state")
        signal, position = self._signal, held.position
        fraction = share_of(signal.quantity if partial else None, position.remaining)
        said = await self._ask(
            lambda reply: CloseRequest(position_id=position.id, fraction=fraction, request_id=signal.key, reply=reply)
        )
        if isinstance(said, CloseAccepted):
            return said.leg
        if isinstance(said, Refusal) and said.code in ("closing", "closed"):
            # Something else closes it already, and all of it: that is what was asked for.
            return ""
        if isinstance(said, Refusal) and said.code == "nothing_to_close":
            raise unavailable("not_ready", f"{said.message} ({_REPEAT})")
        raise not_done(said)

    # -- what is there ---------------------------------------------------------------------------------------------

    def _closed_by_this(self, held: Published | None) -> Published | None:
        """The position that this signal has closed before, if it did: the one that is there, or one that was."""
        key = self._signal.key
        for published in (*([held] if held else []), *self._api.directory.positions.closed()):
            position = published.position
            if position is not None and any(each.request_id == key for each in position.close_requests):
                return published
        return None

    async def _ask(self, message: Any) -> Any:
        left = max(0.05, self._deadline - time.monotonic())
        return await self._api.ask(message, unknown=_REPEAT, seconds=left)

    def _answer(self, result: str, published: Published | None, status: int = 0, leg: str = "") -> Response:
        view = None
        if published is not None:
            symbol = published.position.symbol if published.position else ""
            view = position_view(published, self._api.directory.quote(published.account, symbol))
        body = {"result": result, "leg": leg or None, "position": view}
        return answer(body, status or 200)


def _side(published: Published | None) -> Side | None:
    position: Position | None = published.position if published else None
    return position.side if position else None
