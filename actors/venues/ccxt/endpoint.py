"""Where a ccxt exchange is reached when an account's configuration names an endpoint of its own."""

from collections.abc import MutableMapping
from typing import Any, Final
from urllib.parse import urlsplit

_REST: Final = {
    "fapiPublic": "/fapi/v1",
    "fapiPublicV2": "/fapi/v2",
    "fapiPublicV3": "/fapi/v3",
    "fapiPrivate": "/fapi/v1",
    "fapiPrivateV2": "/fapi/v2",
    "fapiPrivateV3": "/fapi/v3",
    "fapiData": "/futures/data",
    "sapi": "/sapi/v1",
    "sapiV2": "/sapi/v2",
    "sapiV3": "/sapi/v3",
    "sapiV4": "/sapi/v4",
    "public": "/api/v3",
    "private": "/api/v3",
    "v1": "/api/v1",
}


def endpoint_urls(endpoint: str) -> dict[str, Any]:
    """What ccxt's `binanceusdm` calls its `urls["api"]`, all of it at one endpoint such as `http://127.0.0.1:8325`.

    ccxt itself makes `/public/ws`, `/market/ws` and `/private/ws` of the websockets' `/ws`.
    """
    parts = urlsplit(endpoint.rstrip("/"))
    if parts.scheme not in ("http", "https") or not parts.netloc:
        message = f"an endpoint is such as http://127.0.0.1:8325, not {endpoint!r}"
        raise ValueError(message)
    base = endpoint.rstrip("/")
    socket = f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}{parts.path}"
    streams = {"linear": f"{socket}/ws", "ws-api": {"linear": f"{socket}/ws-fapi/v1"}}
    return {**{name: base + path for name, path in _REST.items()}, "ws": streams}


def use_endpoint(urls: MutableMapping[str, Any], endpoint: str) -> None:
    """Point a ccxt exchange's `urls` at an endpoint. What that has not, cannot be reached by mistake any more."""
    urls["api"] = endpoint_urls(endpoint)
