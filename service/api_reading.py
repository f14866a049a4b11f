"""The endpoints that read: positions, accounts, health. They ask no actor; only an audit trail comes from the store."""

import base64
import binascii
import heapq
from collections.abc import Callable
from typing import Final

import structlog
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from actors.directory import FeedStatus, Published
from actors.domain.model import Phase
from persistence.messages import ReadEvents
from service import http_models as models
from service.api_positions import known_id
from service.http_answers import ApiError, answer, unavailable
from service.http_ask import Api
from service.http_body import check_query
from service.views import account_view, health_view, moment, phase_of, position_view

MAX_LIMIT: Final = 1_000
PHASES: Final = (*(phase.value for phase in Phase), "all")
# The health log is written every few seconds; a minute without one means that the actors' dispatcher stands still.
STALL_MICROS: Final = 60_000_000

_log = structlog.get_logger()


def reading_router(api: Api) -> APIRouter:
    """GET /v1/positions, one of them, and its audit trail."""
    router = APIRouter(prefix="/v1/positions", tags=["positions"])

    @router.get("", summary="List", responses={200: {"model": models.PositionsAnswer}, **models.errors(422)})
    def list_positions(
        request: Request,
        *,
        account: str | None = None,
        symbol: str | None = None,
        phase: str | None = None,
        limit: str = "100",
        cursor: str | None = None,
    ) -> Response:
        """All positions that are not closed, oldest first, unless `phase` says otherwise (`closed`, `all`, …)."""
        check_query(request, ("account", "symbol", "phase", "limit", "cursor"))
        wanted = _filter(account, symbol, phase)
        count = _limit(limit)
        after = _decode(cursor) if cursor is not None else None
        found = ((_key(item), item) for item in api.directory.positions.everything() if wanted(item))
        keyed = (pair for pair in found if after is None or pair[0] > after)
        page = heapq.nsmallest(count + 1, keyed, key=lambda item: item[0])
        following = _encode(page[count - 1][0]) if len(page) > count else None
        return answer({"positions": [_view(api, published) for _, published in page[:count]], "next": following})

    @router.get("/{position_id}", summary="Show", responses={200: {"model": models.PositionView}, **models.errors(404)})
    def show_position(request: Request, position_id: str) -> Response:
        """One position, as saved. The `ETag` is its version."""
        check_query(request, ())
        published = _find(api, position_id)
        return answer(_view(api, published), headers={"ETag": f'"{published.version}"'})

    @router.get(
        "/{position_id}/events",
        summary="Audit trail",
        responses={200: {"model": models.EventsAnswer}, **models.errors(404, 429, 503)},
    )
    async def list_events(request: Request, position_id: str) -> Response:
        """What happened to it, oldest first."""
        check_query(request, ())
        published = _find(api, position_id)
        status = api.directory.accounts.get(published.account)
        shard = status.shard if status else published.account
        said = await api.read(lambda reply: ReadEvents(shard=shard, position_id=position_id, reply=reply))
        if isinstance(said, BaseException):
            _log.warning("http.storage", error=str(said))
            raise unavailable("storage", "the audit trail cannot be read now; ask again")
        return answer({"events": [event_view(dict(event)) for event in said]})

    return router


def state_router(api: Api) -> APIRouter:
    """Accounts, health, liveness and readiness."""
    router = APIRouter(tags=["service"])

    @router.get("/v1/accounts", responses={200: {"model": models.AccountsAnswer}, **models.errors()})
    def accounts(request: Request) -> Response:
        """Every account with its lease and its feeds."""
        check_query(request, ())
        feeds: dict[str, list[FeedStatus]] = {}
        for feed in list(api.directory.feeds.values()):
            feeds.setdefault(feed.account, []).append(feed)
        views = [
            account_view(status, feeds.get(api.directory.feed_of.get(name, name), []))
            for name, status in sorted(api.directory.accounts.items())
        ]
        return answer({"accounts": views})

    @router.get("/v1/health", responses={200: {"model": models.HealthAnswer}, **models.errors()})
    def health(request: Request) -> Response:
        """Every actor's health, worst first."""
        check_query(request, ())
        return answer(health_view(api.directory))

    @router.get("/healthz", responses={200: {"model": models.LivenessAnswer}, 503: {"model": models.ErrorAnswer}})
    def liveness() -> Response:
        """Whether the dispatcher turns: the actors' health is still being measured."""
        measured = api.directory.health_at
        if measured and api.now() - measured > STALL_MICROS:
            raise unavailable(
                "stalled", f"no actor's health was measured since {moment(measured)}; restart the service"
            )
        return answer({"alive": True})

    @router.get("/readyz", responses={200: {"model": models.ReadinessAnswer}, 503: {"model": models.ReadinessAnswer}})
    def readiness() -> Response:
        """Whether positions are loaded, unknown orders settled, leases held, prices fresh and Redis reachable."""
        reasons = api.directory.reasons_not_ready()
        return answer({"ready": not reasons, "reasons": list(reasons)}, 503 if reasons else 200)

    return router


def event_view(event: dict[str, object]) -> dict[str, object]:
    """An audit line with its time as people write it."""
    at = event.get("at")
    if isinstance(at, int) and not isinstance(at, bool):
        event["at"] = moment(at)
    return event


def _find(api: Api, position_id: str) -> Published:
    known_id(position_id)
    published = api.directory.positions.get(position_id)
    if published is None:
        raise ApiError(
            404, "not_found", f"no position has the id {position_id}; GET /v1/positions?phase=all lists them"
        )
    return published


def _view(api: Api, published: Published) -> dict[str, object]:
    symbol = published.position.symbol if published.position else ""
    return position_view(published, api.directory.quote(published.account, symbol))


def _filter(account: str | None, symbol: str | None, phase: str | None) -> Callable[[Published], bool]:
    if phase is not None and phase not in PHASES:
        raise ApiError(422, "not_a_choice", f"phase must be one of {', '.join(PHASES)}", field="phase")

    def wanted(published: Published) -> bool:
        if account is not None and published.account != account:
            return False
        if symbol is not None and (published.position is None or published.position.symbol != symbol):
            return False
        shown = phase_of(published)
        return shown != "closed" if phase is None else phase in ("all", shown)

    return wanted


def _limit(text: str) -> int:
    count = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 1 <= count <= MAX_LIMIT:
        raise ApiError(422, "not_a_number", f"limit must be a whole number from 1 to {MAX_LIMIT}", field="limit")
    return count


def _key(published: Published) -> tuple[int, str]:
    return (published.position.opened_at if published.position else 0, published.position_id)


def _encode(key: tuple[int, str]) -> str:
    return base64.urlsafe_b64encode(f"{key[0]} {key[1]}".encode()).decode("ascii").rstrip("=")


def _decode(cursor: str) -> tuple[int, str]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        at, _, position_id = text.partition(" ")
        return int(at), position_id
    except (ValueError, binascii.Error):
        raise ApiError(
            422,
            "invalid_cursor",
            "cursor must be what `next` was in the answer before; start without one",
            field="cursor",
        ) from None
