"""Reads exitkeeper.toml, overridden by EXITKEEPER_*, into a Config.

Nothing half-read leaves this module: either every setting is known, present and sound, or ConfigError names every
problem at once.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from service.config import Config
from service.config_environment import overlay
from service.config_parse import parse_config
from service.config_reader import ConfigError

DEFAULT_FILE: Final = "exitkeeper.toml"

# A market that needs no key and no network, so that the first start shows something.
DEFAULT_ACCOUNTS: Final[Mapping[str, Any]] = {
    "paper": {
        "venue": "paper",
        "market": {
            "random_walk": {
                "BTC/USDT:USDT": {"price": "60000", "volatility": "0.8"},
                "ETH/USDT:USDT": {"price": "3000", "volatility": "0.9"},
                "SOL/USDT:USDT": {"price": "150", "volatility": "1.1"},
            }
        },
    }
}


def load_config(
    path: Path | None = None,
    *,
    data_dir: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Config:
    """Read the configuration. `data_dir`, from the command line, wins over everything. Raises ConfigError.

    Without `path` it is EXITKEEPER_CONFIG, or exitkeeper.toml in the working directory where that exists. Paths in a
    file are relative to the file's folder; those from the environment and the command line to the working directory.
    """
    environment = os.environ if environment is None else environment
    problems: list[str] = []
    source = _source(path, environment)
    values = _read_file(source, problems) if source else {}
    if problems:
        raise ConfigError(problems)
    if not values.get("accounts"):
        values["accounts"] = _copied(DEFAULT_ACCOUNTS)
    base = source.resolve().parent if source else Path.cwd()
    _anchor(values, base)
    overlay(values, environment, problems)
    if data_dir is not None:
        values["data_dir"] = str(data_dir)
    config = parse_config(values, problems, source)
    if problems or config is None:
        raise ConfigError(problems)
    return config


def _source(path: Path | None, environment: Mapping[str, str]) -> Path | None:
    """The file to read."""
    if path is not None:
        return path
    if environment.get("EXITKEEPER_CONFIG"):
        return Path(environment["EXITKEEPER_CONFIG"])
    default = Path(DEFAULT_FILE)
    return default if default.is_file() else None


def _read_file(path: Path, problems: list[str]) -> dict[str, Any]:
    """The file's tables; a problem when it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(f"{path}: cannot be read ({error.strerror}); name a file that exists, or leave --config out")
    except UnicodeDecodeError:
        problems.append(f"{path}: is not UTF-8 text; save it as UTF-8")
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{path}: is not TOML: {error}")
    return {}


def _copied(table: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy of nested tables: the environment changes them in place."""
    return {key: _copied(value) if isinstance(value, Mapping) else value for key, value in table.items()}


def _anchor(values: dict[str, Any], base: Path) -> None:
    """Make the file's own paths absolute, before the environment's are laid over them."""
    if isinstance(values.get("data_dir"), str) and values["data_dir"]:
        values["data_dir"] = str(base / values["data_dir"])
    tables = [values.get("http"), values.get("webhooks"), *_tables(values.get("accounts"))]
    for table in tables:
        if not isinstance(table, dict):
            continue
        for key in [key for key in table if key.endswith("_file") and isinstance(table[key], str)]:
            table[key] = str(base / table[key])
        market = table.get("market")
        for key in ("ledger", "control"):
            if isinstance(market, dict) and isinstance(market.get(key), str) and market[key]:
                market[key] = str(base / market[key])
        replay = market.get("replay") if isinstance(market, dict) else None
        if isinstance(market, dict) and isinstance(replay, str) and replay:
            market["replay"] = str(base / replay)
        elif isinstance(replay, dict):
            replay.update({symbol: str(base / file) for symbol, file in replay.items() if isinstance(file, str)})


def _tables(value: object) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else []
