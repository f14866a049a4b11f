"""What a check of `exitkeeper doctor` tells."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How a check went."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; the remedy is empty when all is well."""

    level: Level
    name: str
    detail: str
    remedy: str = ""
