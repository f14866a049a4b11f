"""From tables to frozen values: one account, its instruments and its market."""

import re
from collections.abc import Mapping
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from actors.settings import AccountSettings
from service.config import AccountConfig, InstrumentConfig, MarketConfig, WalkConfig
from service.config_live import LIVE_VENUES, parse_live
from service.config_reader import Section
from service.decimals import parse_decimal

VENUES: Final = ("paper", *LIVE_VENUES)
DEFAULT_SYMBOL: Final = "BTC/USDT:USDT"
_SYMBOL: Final = re.compile(r"[A-Z0-9._-]{1,24}/[A-Z0-9._-]{1,24}(:[A-Z0-9._-]{1,24})?")
_SHARD: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SPEED: Final = re.compile(r"([0-9]{1,6}(\.[0-9]{1,6})?)x", re.ASCII)
_INSTRUMENT: Final = ("tick_size", "quantity_step", "minimum_quantity", "minimum_notional")


def parse_account(name: str, table: Section) -> AccountConfig | None:
    """Read one account, adding to the problems; None when it has no usable venue."""
    venue = table.text("venue")
    defaults = AccountSettings(name=name, shard=name)
    resident = table.table("resident_stop")
    interval = resident.decimal("interval_seconds", least=0) if resident else None
    step = resident.decimal("step_percent", least=0) if resident else None
    if resident:
        resident.finish()
    deviation = table.decimal("max_deviation_percent", above=0)
    settings = AccountSettings(
        name=name,
        shard=_shard(table, name),
        max_deviation_percent=defaults.max_deviation_percent if deviation is None else deviation,
        resident_interval_seconds=defaults.resident_interval_seconds if interval is None else interval,
        resident_step_percent=defaults.resident_step_percent if step is None else step,
        request_expiry_seconds=_seconds(table, "request_expiry_seconds", defaults.request_expiry_seconds),
        clock_skew_seconds=_seconds(table, "clock_skew_seconds", defaults.clock_skew_seconds),
        feed_stale_seconds=_seconds(table, "feed_stale_seconds", defaults.feed_stale_seconds),
    )
    lease = table.decimal("lease_ttl_seconds", above=0)
    fee = table.decimal("taker_fee_percent", least=0)
    live = parse_live(table, venue) if venue in LIVE_VENUES else None
    if live is not None:
        for key in ("market", "instruments", "taker_fee_percent"):
            if table.raw(key) is not None:
                table.problem(key, "is for paper accounts; a real exchange says this itself, so remove it")
    instruments = _instruments(table.table("instruments")) if live is None else {}
    account = AccountConfig(
        venue=venue or "",
        settings=settings,
        market=MarketConfig() if live is not None else _market(table, table.table("market"), instruments),
        instruments=instruments,
        taker_fee_percent=fee,
        lease_ttl_seconds=None if lease is None else float(lease),
        live=live,
    )
    table.finish()
    return account if _known_venue(table, venue) else None


def _known_venue(table: Section, venue: str | None) -> bool:
    if venue is None:
        if "venue" not in table.values:
            table.problem("venue", f"is missing; this release has: {', '.join(VENUES)}")
        return False
    if venue not in VENUES:
        table.problem("venue", f"{venue!r} is not a venue of this release, which has: {', '.join(VENUES)}")
        return False
    return True


def _shard(table: Section, name: str) -> str:
    shard = table.text("shard", name) or name
    if not _SHARD.fullmatch(shard):
        table.problem("shard", "a shard's name is 1 to 64 letters, digits, - and _")
    return shard


def _seconds(table: Section, key: str, default: float) -> float:
    value = table.decimal(key, above=0)
    return default if value is None else float(value)


def _instruments(section: Section | None) -> Mapping[str, InstrumentConfig]:
    found: dict[str, InstrumentConfig] = {}
    if section is None:
        return found
    for symbol, table in section.tables():
        _check_symbol(section, symbol)
        values = {key: table.decimal(key, above=0) for key in _INSTRUMENT if key != "minimum_notional"}
        found[symbol] = InstrumentConfig(minimum_notional=table.decimal("minimum_notional", least=0), **values)
        table.finish()
    return found


def _check_symbol(section: Section, symbol: str) -> None:
    if not _SYMBOL.fullmatch(symbol):
        section.problem(symbol, f"is not a symbol such as {DEFAULT_SYMBOL!r}")


def _market(account: Section, section: Section | None, instruments: Mapping[str, InstrumentConfig]) -> MarketConfig:
    if section is None:
        if account.values.get("venue") == "paper" and "market" not in account.values:
            account.problem("market", 'is missing; a paper account needs replay = "FILE" or random_walk = { … }')
        return MarketConfig()
    replay = _replay(section, instruments)
    walks = _walks(section.table("random_walk"))
    if ("replay" in section.values) == ("random_walk" in section.values):
        section.problem("replay", "give exactly one of replay and random_walk")
    speed, ledger = _speed(section), _file(section, "ledger")
    if ledger is not None and speed is None:
        section.problem("ledger", 'a shared exchange cannot be played in lockstep; set speed = "1x", or leave it out')
    market = MarketConfig(
        replay=replay, random_walk=walks, speed=speed, ledger=ledger, control=_file(section, "control")
    )
    section.finish()
    for symbol in instruments:
        if symbol not in {**replay, **walks}:
            account.problem(f"instruments.{symbol}", "has no prices in this account's market; add them, or remove it")
    return market


def _file(section: Section, key: str) -> Path | None:
    """A file that may come later, in a folder that is there."""
    text = section.text(key)
    if text is None:
        return None
    if not Path(text).parent.is_dir() or Path(text).is_dir():
        section.problem(key, f"{text} must be a file in a folder that exists")
    return Path(text)


def _replay(section: Section, instruments: Mapping[str, InstrumentConfig]) -> Mapping[str, Path]:
    """CSV files by symbol. One file alone is for the account's one instrument, or for BTC."""
    value = section.raw("replay")
    if value is None:
        return {}
    if isinstance(value, str):
        value = {next(iter(instruments)) if len(instruments) == 1 else DEFAULT_SYMBOL: value}
    if not isinstance(value, Mapping) or not value:
        section.problem("replay", 'must be a file, or a table such as { "BTC/USDT:USDT" = "prices.csv" }')
        return {}
    files = Section(value, section.where("replay"), section.problems)
    found: dict[str, Path] = {}
    for symbol in value:
        _check_symbol(files, symbol)
        file = files.text(symbol)
        if file is None:
            continue
        found[symbol] = Path(file)
        if not found[symbol].is_file():
            files.problem(symbol, f"{file} is not a file; name a CSV file that exists")
    return found


def _walks(section: Section | None) -> Mapping[str, WalkConfig]:
    found: dict[str, WalkConfig] = {}
    if section is None:
        return found
    if not section.values:
        section.problems.append(f"{section.path}: names no symbol; add one, with its price and volatility")
    for symbol, table in section.tables():
        _check_symbol(section, symbol)
        for key in ("price", "volatility"):
            if key not in table.values:
                table.problem(key, "is missing")
        price, volatility = table.decimal("price", above=0), table.decimal("volatility", least=0)
        drift, interval = table.decimal("drift"), table.decimal("interval_seconds", above=0)
        waypoints = _waypoints(table)
        found[symbol] = WalkConfig(
            price=price or Decimal(1),
            volatility=volatility or Decimal(0),
            drift=drift or Decimal(0),
            seed=_seed(table),
            interval_seconds=interval or Decimal(1),
            waypoints=waypoints,
        )
        table.finish()
    return found


def _seed(table: Section) -> str | None:
    """A seed is any text or whole number."""
    value = table.raw("seed")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | str):
        table.problem("seed", "must be a whole number or a string")
        return None
    return str(value)


def _waypoints(table: Section) -> tuple[tuple[Decimal, Decimal], ...]:
    """Pairs of seconds and price, seconds growing."""
    value = table.raw("waypoints")
    if value is None:
        return ()
    points: list[tuple[Decimal, Decimal]] = []
    try:
        for seconds, price in _pairs(value):
            points.append((parse_decimal(seconds), parse_decimal(price)))
    except ValueError as error:
        table.problem("waypoints", f'must be pairs such as ["10", "60500"] of seconds and price: {error}')
        return ()
    if any(price <= 0 for _, price in points) or any(later[0] <= earlier[0] for earlier, later in pairwise(points)):
        table.problem("waypoints", "seconds must grow from pair to pair, and prices be above 0")
    return tuple(points)


def _pairs(value: object) -> list[tuple[Any, Any]]:
    if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        raise ValueError("it is not a list of pairs")
    return [(pair[0], pair[1]) for pair in value]


def _speed(section: Section) -> Decimal | None:
    """None is lockstep; without a word every market runs at the pace of the wall clock."""
    text = section.text("speed", "1x")
    if text == "max":
        return None
    match = _SPEED.fullmatch(text or "")
    if match is None or Decimal(match[1]) == 0:
        section.problem("speed", '"max", or how many seconds pass in one, such as "1x" or "60x"')
        return Decimal(1)
    return Decimal(match[1])
