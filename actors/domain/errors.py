"""What the domain refuses, named by what the caller may conclude: nothing was changed.

DomainError
├── PlanRefused       the plan, or what it meets, is not acceptable; every fault is listed
└── CommandRefused    one command is not acceptable now
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: a constant code, a field (dotted path, may be empty) and a sentence with the remedy."""

    code: str
    field: str
    message: str


class DomainError(Exception):
    """Base: the position is as it was."""


class PlanRefused(DomainError):
    """Every fault found, at once."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(fault.message for fault in faults))
        self.faults = faults


class CommandRefused(DomainError):
    """One command was refused; `code` is constant, the message says what to do next."""

    def __init__(self, code: str, message: str, field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.field = field
        self.message = message
