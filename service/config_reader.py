"""Reads tables of the configuration key by key, and remembers every problem instead of stopping at the first.

What nobody asked for is a problem too: a misspelt setting that is silently ignored is one that does not protect.
"""

import difflib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from service.decimals import parse_decimal, plain


class ConfigError(Exception):
    """The configuration cannot be used; `problems` names everything that is wrong with it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class Section:
    """One table of the configuration. Each `read` marks its key as known; `finish` reports the others."""

    def __init__(self, values: Mapping[str, Any], path: str, problems: list[str]) -> None:
        self.values = values
        self.path = path
        self.problems = problems
        self._known: list[str] = []

    def where(self, key: str) -> str:
        """The dotted name of a key, as problems name it."""
        return f"{self.path}.{key}" if self.path else key

    def problem(self, key: str, message: str) -> None:
        """Remember that something is wrong with a key."""
        self.problems.append(f"{self.where(key)}: {message}")

    def raw(self, key: str) -> Any:
        """A value as it came, None when it is absent."""
        self._known.append(key)
        return self.values.get(key)

    def text(self, key: str, default: str | None = None) -> str | None:
        """A non-empty string."""
        value = self.raw(key)
        if value is None:
            return default
        if not isinstance(value, str) or not value.strip():
            self.problem(key, "must be a string that is not empty")
            return default
        if "\0" in value:
            # No system takes it in a path or a name; what opens the file would raise something else than OSError.
            self.problem(key, "holds a null character; take it out")
            return default
        return value

    def secret(self, key: str) -> str | None:
        """A secret, or the content of the file that `<key>_file` names (as container platforms mount them)."""
        value, file = self.text(key), self.text(f"{key}_file")
        if file is None:
            return value
        if value is not None:
            self.problem(key, f"is given twice, also as {key}_file; keep one")
            return value
        try:
            content = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            self.problem(f"{key}_file", f"{file} cannot be read; name a readable text file")
            return None
        if not content:
            self.problem(f"{key}_file", f"{file} is empty; write the secret into it")
            return None
        return content

    def decimal(self, key: str, *, above: int | None = None, least: int | None = None) -> Decimal | None:
        """An exact number; floats are refused."""
        value = self.raw(key)
        if value is None:
            return None
        try:
            number = parse_decimal(value)
        except ValueError as error:
            self.problem(key, str(error).replace("send it", "write it"))
            return None
        if above is not None and number <= above:
            self.problem(key, f"must be above {above}, and is {plain(number)}")
            return None
        if least is not None and number < least:
            self.problem(key, f"must be at least {least}, and is {plain(number)}")
            return None
        return number

    def integer(self, key: str, *, least: int, most: int) -> int | None:
        """A whole number; digits in a string will do, because the environment has nothing else."""
        value = self.raw(key)
        if value is None:
            return None
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.problem(key, f"must be a whole number from {least} to {most}")
            return None
        return value

    def boolean(self, key: str) -> bool:
        """Yes or no, no when absent; the environment has only words for it."""
        value = self.raw(key)
        if isinstance(value, str) and value.lower() in ("true", "false"):
            value = value.lower() == "true"
        if value is not None and not isinstance(value, bool):
            self.problem(key, "must be true or false")
        return value is True

    def table(self, key: str) -> "Section | None":
        """A table within this one."""
        value = self.raw(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            self.problem(key, "must be a table")
            return None
        return Section(value, self.where(key), self.problems)

    def tables(self) -> "Iterator[tuple[str, Section]]":
        """Every value of this table, each of which must be a table of its own."""
        for key in self.values:
            section = self.table(key)
            if section is not None:
                yield key, section

    def finish(self) -> None:
        """Report every key that nobody asked for."""
        for key in self.values:
            if key in self._known:
                continue
            near = difflib.get_close_matches(key, self._known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(self._known))}"
            self.problem(key, f"is not a setting; {hint}")
