"""From the words of the command line to an exchange server's settings; and the file that holds its keys.

Keys that nobody gave are made once, and kept in a file that only its owner can read. They are never logged.
"""

import fcntl
import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import IO, Any, Final

from actors.venues.exchange_settings import ApiKey, ExchangeSettings, RateLimits
from actors.venues.paper_settings import MarketSettings, ReplaySettings, SymbolSettings, WalkSettings

JOURNAL: Final = "exchange.sqlite"
KEYS: Final = "exchange-keys.json"
_LOCK: Final = "exchange.lock"
_DEFAULT_ACCOUNT: Final = "paper"
_DEFAULT_WALKS: Final = ("BTC/USDT:USDT=60000", "ETH/USDT:USDT=3000")
_SPREAD_PERCENT: Final = Decimal("0.01")


class BadOption(ValueError):
    """A word that cannot be understood; the message says which and why."""


def lock_exchange(data_dir: Path) -> IO[str]:
    """Hold the journal for this process; the kernel lets go of it however that ends. Raises BadOption."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (data_dir / _LOCK).open("a+")
    except OSError as error:
        raise BadOption(f"the data directory {data_dir} cannot be used: {error}; name another") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise BadOption(f"another exchange runs on {data_dir}; stop it, or name another data directory") from None
    return lock


def settings_of(data_dir: Path, words: Mapping[str, Any]) -> ExchangeSettings:
    """Settings of the command line's words. Raises BadOption."""
    markets: dict[str, SymbolSettings] = {}
    replays: Sequence[str] = words.get("replay", ())
    walks: Sequence[str] = words.get("walk", ()) or (() if replays else _DEFAULT_WALKS)
    spread = _decimal("--spread", words.get("spread")) if words.get("spread") else _SPREAD_PERCENT
    for word in replays:
        symbol, file = _pair("--replay", word)
        if not Path(file).is_file():
            raise BadOption(f"--replay {word}: {file} is not a file; name a CSV file that exists")
        markets[symbol] = ReplaySettings(file=Path(file), spread_percent=spread)
    for word in walks:
        symbol, rest = _pair("--walk", word)
        price, _, volatility = rest.partition(":")
        markets[symbol] = WalkSettings(
            price=_decimal("--walk", price),
            volatility=_decimal("--walk", volatility or "0.8"),
            seed=words.get("seed") or "0",
            spread_percent=spread,
        )
    rates = {name: words[name] for name in ("weight_per_minute", "orders_per_minute") if words.get(name)}
    given = {name: words[name] for name in ("maximum_stops", "leverage", "port") if words.get(name) is not None}
    try:
        return ExchangeSettings(
            path=data_dir / JOURNAL,
            market=MarketSettings(symbols=markets),
            keys=_keys(data_dir, words.get("keys", ())),
            host=words.get("host") or "127.0.0.1",
            speed=_speed(words.get("speed") or "1x"),
            manual=bool(words.get("manual")),
            balance=_decimal("--balance", words.get("balance") or "1000000"),
            rates=RateLimits(**rates),
            **given,
        )
    except ValueError as error:
        raise BadOption(str(error)) from None


def keys_of(path: Path) -> tuple[ApiKey, ...]:
    """The keys in a file. Raises BadOption."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return tuple(ApiKey(account=name, key=each["key"], secret=each["secret"]) for name, each in found.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadOption(f"{path} cannot be read as keys ({error}); correct it, or move it away") from None


def _keys(data_dir: Path, given: Iterable[str]) -> tuple[ApiKey, ...]:
    """The keys given, or those in the file, which is made where there is none."""
    keys = tuple(_key(word) for word in given)
    if len({key.key for key in keys}) < len(keys) or len({key.account for key in keys}) < len(keys):
        raise BadOption("--key: an account or a key is given twice")
    if keys:
        return keys
    path = data_dir / KEYS
    if not path.exists():
        made = {_DEFAULT_ACCOUNT: {"key": secrets.token_hex(32), "secret": secrets.token_hex(32)}}
        draft = path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(made, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    return keys_of(path)


def _key(word: str) -> ApiKey:
    parts = word.split(":")
    if len(parts) != 3 or not all(parts):
        raise BadOption("--key must be ACCOUNT:KEY:SECRET")
    return ApiKey(account=parts[0], key=parts[1], secret=parts[2])


def _pair(option: str, word: str) -> tuple[str, str]:
    symbol, separator, rest = word.partition("=")
    if not separator or "/" not in symbol or not rest:
        raise BadOption(f"{option} {word}: it must be such as BTC/USDT:USDT=60000")
    return symbol if ":" in symbol else f"{symbol}:{symbol.partition('/')[2]}", rest


def _decimal(option: str, word: object) -> Decimal:
    try:
        value = Decimal(str(word))
    except InvalidOperation:
        raise BadOption(f"{option}: {word!r} is not a number") from None
    if not value.is_finite() or value < 0:
        raise BadOption(f"{option}: {word!r} is not a number above zero")
    return value


def _speed(word: str) -> float:
    try:
        return float(word.removesuffix("x"))
    except ValueError:
        raise BadOption(f'--speed {word}: it is how many seconds pass in one, such as "1x" or "60x"') from None
