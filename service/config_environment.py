"""Lays `EXITKEEPER_*` over what the file says: `EXITKEEPER_HTTP__PORT` is `port` in `[http]`.

Values are strings; one that begins with `{` or `[` is read as an inline TOML value, for settings that are tables.
"""

import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final

PREFIX: Final = "EXITKEEPER_"
# These belong to the command line's client and to the choice of the file, not to the configuration itself.
RESERVED: Final = frozenset({"EXITKEEPER_URL", "EXITKEEPER_TOKEN", "EXITKEEPER_CONFIG"})
# Kubernetes sets these for every pod beside a Service named "exitkeeper"; they are nobody's setting.
_KUBERNETES: Final = re.compile(r"EXITKEEPER_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)")


def overlay(values: dict[str, Any], environment: Mapping[str, str], problems: list[str]) -> None:
    """Change `values` by what the environment says, in place."""
    for name in sorted(environment):
        if not name.startswith(PREFIX) or name in RESERVED or _KUBERNETES.fullmatch(name):
            continue
        path = name.removeprefix(PREFIX).split("__")
        if not all(path):
            problems.append(f"{name}: has an empty part; write EXITKEEPER_TABLE__KEY")
            continue
        value = _read(name, environment[name], problems)
        if value is not None:
            _place(values, path, value, name, problems)


def _read(name: str, text: str, problems: list[str]) -> Any:
    """One value: itself, or inline TOML. The text is never repeated in a problem: it may be a secret."""
    if not text.startswith(("{", "[")):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        problems.append(f"{name}: begins with {text[0]!r} but is not an inline TOML value")
        return None


def _place(values: dict[str, Any], path: list[str], value: Any, name: str, problems: list[str]) -> None:
    """Set one value, matching names of accounts, plans and keys without regard to case."""
    table = values
    for part in path[:-1]:
        key = _matching(table, part)
        inner = table.setdefault(key, {})
        if not isinstance(inner, dict):
            problems.append(f"{name}: {key} is not a table")
            return
        table = inner
    table[_matching(table, path[-1])] = value


def _matching(table: Mapping[str, Any], part: str) -> str:
    """The table's own spelling of a name, or lower case for a new one."""
    for key in table:
        if key.lower() == part.lower():
            return key
    return part.lower()
