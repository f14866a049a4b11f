"""How exact numbers enter and leave: strings of plain digits, whole numbers, never floats.

`Decimal` itself reads far more than a person means by a price ("1e999999", "١٢", "1_0", "NaN"), and some of it makes
later arithmetic overflow. So the edge has a narrow grammar and a limit on digits.
"""

import re
from decimal import Decimal
from typing import Final

MAX_DIGITS: Final = 20
_PLAIN: Final = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{1,20})?", re.ASCII)


def parse_decimal(value: object) -> Decimal:
    """Read a decimal string or a whole number exactly. Raises ValueError that says what to write instead."""
    if isinstance(value, bool) or value is None:
        raise ValueError('must be a number, sent as a string such as "1.5"')
    if isinstance(value, float):
        raise ValueError(f'{value!r} is a float, which is not exact; send it as a string such as "{value!r}"')
    if isinstance(value, int):
        if abs(value) >= 10**MAX_DIGITS:
            raise ValueError(f"has more than {MAX_DIGITS} digits")
        return Decimal(value)
    if isinstance(value, Decimal):
        # From JSON that is read exactly. Written out only where it is short: 1e999999 has a million digits.
        if value.is_finite() and abs(value.adjusted()) <= MAX_DIGITS:
            value = format(value, "f")
        else:
            raise ValueError(f"has more than {MAX_DIGITS} digits on one side of the point")
    if isinstance(value, str):
        if _PLAIN.fullmatch(value):
            return Decimal(value)
        raise ValueError(
            f'must be a plain decimal such as "1.5", at most {MAX_DIGITS} digits on each side of the point, no exponent'
        )
    raise ValueError('must be a number, sent as a string such as "1.5"')


def plain(value: Decimal) -> str:
    """Write a decimal exactly: no exponent, no trailing zeros, no negative zero."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
