"""An account at a real exchange: its keys, and where it trades when that is not the exchange itself."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from service.config import LiveConfig
from service.config_reader import Section
from service.hosts import is_loopback

LIVE_VENUES: Final = ("binanceusdm", "bybit", "hyperliquid", "okx")
# What each exchange signs with. `password` is what OKX calls a passphrase.
NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "binanceusdm": ("api_key", "secret"),
    "bybit": ("api_key", "secret"),
    "okx": ("api_key", "secret", "password"),
    "hyperliquid": ("wallet_address", "private_key"),
}
_SECRETS: Final = ("api_key", "secret", "password", "private_key")


def parse_live(table: Section, venue: str) -> LiveConfig:
    """Read what an account at `venue` needs, adding to the problems."""
    values = {key: table.secret(key) for key in _SECRETS}
    values["wallet_address"] = table.text("wallet_address")
    for key in NEEDED[venue]:
        if values[key] is None and key not in table.values and f"{key}_file" not in table.values:
            variable = f"EXITKEEPER_ACCOUNTS__{table.path.rpartition('.')[2].upper()}__{key.upper()}"
            table.problem(key, f"is missing; set {variable}, or {key}_file to a file that holds it")
    for key, value in values.items():
        if value is not None and key not in NEEDED[venue]:
            table.problem(key, f"is not used by {venue}; remove it (it takes {' and '.join(NEEDED[venue])})")
    demo = table.boolean("demo")
    endpoint = _endpoint(table)
    if demo and endpoint is not None:
        table.problem("demo", "is the exchange's own, and endpoint is another place; keep one of them")
    return LiveConfig(
        api_key=values["api_key"],
        secret=values["secret"],
        password=values["password"],
        wallet_address=values["wallet_address"],
        private_key=values["private_key"],
        endpoint=endpoint,
        demo=demo,
    )


def _endpoint(table: Section) -> str | None:
    """Keys must not cross a network in the clear: http is for this machine alone."""
    endpoint = table.text("endpoint")
    if endpoint is None:
        return None
    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    sound = host is not None and not parts.query and parts.path in ("", "/") and parts.username is None
    if not sound or parts.scheme not in ("http", "https"):
        table.problem("endpoint", 'must be an address such as "http://127.0.0.1:8400"')
    elif parts.scheme == "http" and (host is None or not is_loopback(host) or port is None):
        table.problem("endpoint", "http is for an exchange on this machine, with its port; use https for any other")
    return endpoint.rstrip("/")
