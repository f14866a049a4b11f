"""The whole HTTP API of the real service under everything that its description allows, and much that it does not.

Requests are drawn from /openapi.json by schemathesis, valid ones and damaged ones. None may lead to a 5xx but the
documented 503 and 504, no answer may differ from the description or hold a traceback, no refused request may change a
position, and afterwards every actor lives.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from actors.directory import Directory
from service.http import create_app
from tests.e2e.keeper import BTC, ETH
from tests.input.effort import effort
from tests.input.live_house import SECRET, Living, living

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Living]:
    """One service for everything here, with two positions; at the end it must be as alive as it was."""
    with living(tmp_path_factory.mktemp("anything")) as found:
        found.opened("p1", BTC)
        found.opened("p2", ETH, side="short")
        yield found
        found.check_alive()


def described() -> Any:
    """What the application says of itself; nobody has to live behind it for that."""
    nobody: Any = None
    parts = dict.fromkeys(("supervisor", "persistence", "events"), nobody)
    app = create_app(directory=Directory(), plans={}, webhook_secret=SECRET, **parts)

    async def read() -> Any:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return (await client.get("/openapi.json")).json()

    return schemathesis.openapi.from_dict(asyncio.run(read()))


OPERATIONS = {
    operation.label: operation
    for operation in (result.ok() for result in described().get_all_operations())
    # A stream that never ends; it has a test of its own.
    if operation.path != "/v1/events"
}


def check(house: Living, before: dict[str, Any], status: int, text: str) -> None:
    """What holds for every answer."""
    assert status < 500 or status in (503, 504), "\n".join([text, *house.failures])
    assert "Traceback" not in text
    if status >= 400:
        assert house.everything() == before, "a refused request changed a position"


@pytest.mark.parametrize("label", OPERATIONS)
def test_every_endpoint_keeps_to_its_description(label: str, house: Living) -> None:
    """Whatever is asked, valid or not, is answered as described."""
    operation = OPERATIONS[label]

    @effort(40)
    @given(
        case=st.one_of(
            operation.as_strategy(generation_mode=GenerationMode.POSITIVE),
            operation.as_strategy(generation_mode=GenerationMode.NEGATIVE),
        )
    )
    def ask(case: Any) -> None:
        before = house.at_rest()
        response = case.call(base_url=str(house.client.base_url))
        check(house, before, response.status_code, f"{response.text}\n{case.as_curl_command()}")
        case.validate_response(response, checks=CHECKS)

    ask()


def test_all_of_the_api_is_described() -> None:
    """Every endpoint is tried here: a new one that is not described would be left out."""
    paths = {label.split(" ", 1)[1] for label in OPERATIONS}
    assert {"/v1/positions", "/v1/positions/{position_id}/close", "/v1/webhooks/tradingview", "/v1/health"} <= paths
