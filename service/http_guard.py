"""What stands before every endpoint: the bearer token, foreign web pages, and the last resort for errors.

Without a token only this machine can connect, but any web page open on it can too, by a form or a fetch it may not even
read the answer of. So a request that a browser marks as coming from another site is refused.
"""

import hmac
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.hosts import is_loopback
from service.http_answers import ApiError, error_answer

# Probes of a container platform carry no token, and the description of the API holds no secret. A webhook cannot send
# a header: its secret is in the body.
OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/openapi.json", "/docs", "/v1/webhooks/tradingview"})

_log = structlog.get_logger()


class Guard:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._token = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            self._check(scope["path"], headers)
            await self._app(scope, receive, watched)
        except ApiError as error:
            await error_answer(error)(scope, receive, send)
        except Exception:  # noqa: BLE001  Whatever was not foreseen must still be answered.
            # The caller is told nothing but that it is our fault; the log has the rest.
            _log.exception("http.failed", method=scope["method"], path=scope["path"])
            if started:
                return
            failed = ApiError(500, "internal", "the service failed to answer; its log has the reason")
            await error_answer(failed)(scope, receive, send)

    def _check(self, path: str, headers: Mapping[bytes, str]) -> None:
        if self._token is None:
            self._check_origin(headers)
            return
        if path in OPEN_PATHS:
            return
        scheme, _, given = headers.get(b"authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given:
            raise _unauthorized("Bearer", "this service wants a token; send the header Authorization: Bearer TOKEN")
        if not hmac.compare_digest(given.strip().encode("latin-1"), self._token):
            raise _unauthorized('Bearer error="invalid_token"', "the token is wrong; it is EXITKEEPER_HTTP__TOKEN")

    @staticmethod
    def _check_origin(headers: Mapping[bytes, str]) -> None:
        origin = headers.get(b"origin")
        foreign = headers.get(b"sec-fetch-site") in ("cross-site", "same-site")
        if origin is not None:
            try:
                foreign = foreign or not is_loopback(urlsplit(origin).hostname or "")
            except ValueError:
                foreign = True
        if foreign:
            raise ApiError(
                403, "foreign_origin", "requests of other web sites are refused; configure a token to use it from there"
            )


def _unauthorized(challenge: str, message: str) -> ApiError:
    return ApiError(401, "unauthorized", message, headers={"WWW-Authenticate": challenge})
