"""What a signal is answered while the slot it is for is on its way to or from a position."""

import asyncio
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request

from actors.domain.plans import RUNNER, parse_plan
from actors.messages import CloseRequest, Refusal, SlotAnswer, SlotQuestion
from scripts.bench_states import open_position
from service.http_answers import ApiError, answer
from service.webhooks import webhooks_router

NOW = 1_790_000_000_000_000
SECRET = "a-long-enough-secret"  # noqa: S105
EXIT = {"secret": SECRET, "action": "exit_long", "symbol": "BTC/USDT:USDT"}


class Keeper:
    """Answers what it is told to, and keeps what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.asked: list[Any] = []
        self.plans = {"runner": parse_plan(RUNNER, name="runner")}
        positions = Positions()
        self.directory = SimpleNamespace(
            accounts={"paper": SimpleNamespace(live_money=False)}, positions=positions, quote=lambda *_: None
        )
        self._answers = list(answers)

    def now(self) -> int:
        """The wall time."""
        return NOW

    async def ask(self, message: Any, **_: Any) -> Any:
        """The next answer."""
        self.asked.append(message(None))
        return self._answers.pop(0)


class Positions(dict[str, Any]):
    """Published positions, none of them closed."""

    def closed(self) -> list[Any]:
        """None."""
        return []


def post(keeper: Any, body: dict[str, Any]) -> httpx.Response:
    """One signal."""
    application = FastAPI()
    application.include_router(webhooks_router(keeper, SECRET))

    @application.exception_handler(ApiError)
    async def refused(_: Request, error: ApiError) -> Any:
        return answer({"code": error.code, "message": str(error)}, error.status, error.headers)

    async def sent() -> httpx.Response:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://keeper") as client:
            return await client.post("/v1/webhooks/tradingview", json=body)

    return asyncio.run(sent())


def test_an_exit_while_the_entry_is_just_being_opened_is_to_be_sent_again() -> None:
    """The slot is taken, but its position is not durable yet: nothing to close would be wrong, and it would be lost."""
    keeper = Keeper(SlotAnswer(symbol="BTC/USDT:USDT", position_id="p-1"))
    response = post(keeper, EXIT)
    assert (response.status_code, response.json()["code"]) == (503, "not_ready")
    assert response.headers["Retry-After"]
    assert [type(each) for each in keeper.asked] == [SlotQuestion]


def test_an_exit_from_a_slot_that_is_free_has_nothing_to_do() -> None:
    """That is certain, and no reason to send it again."""
    response = post(Keeper(SlotAnswer(symbol="BTC/USDT:USDT", position_id="")), EXIT)
    assert (response.status_code, response.json()["result"]) == (200, "nothing_to_do")


@pytest.mark.parametrize("code", ["nothing_to_close", "not_ready"])
def test_an_exit_that_cannot_be_carried_out_yet_is_to_be_sent_again(code: str) -> None:
    """The entry has executed nothing yet, or the position is not reconciled: it may be closed a moment later."""
    keeper = Keeper(SlotAnswer(symbol="BTC/USDT:USDT", position_id="p-1"), Refusal(code=code, message="not yet"))
    published = SimpleNamespace(position_id="p-1", account="paper", position=open_position())
    keeper.directory.positions["p-1"] = published
    response = post(keeper, EXIT)
    assert (response.status_code, response.json()["code"]) == (503, "not_ready")
    assert [type(each) for each in keeper.asked] == [SlotQuestion, CloseRequest]
