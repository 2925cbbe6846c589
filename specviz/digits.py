"""How a number is written for people: the rule of ``assets/viewer/core/digits.js``, too, which a test holds to it."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Context, Decimal

CARRIED = 5
"""Significant digits that a page is sent. Every number is rounded to these first, so that it reads the same on both
sides."""
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LEAST_EXPONENT = -3


def digits(value: float | None, count: int = 3) -> str:
    """``value`` with ``count`` significant digits: ``0.349``, ``0.00804``, below 0.001 ``3.89·10⁻⁴``.

    ``0`` stands for exact zero only and ``1`` for exact one; less than one never rounds to it: ``>0.999``. Zeros at the
    end are dropped from the fourth digit on. None is ``–``.
    """
    if value is None or math.isnan(value):
        return "–"
    if value < 0:
        return f"−{digits(-value, count)}"
    if value in (0, 1):
        return str(int(value))
    if math.isinf(value):
        return "∞"
    if value < 1 and _rounded(value, count)[1] == 0:
        return f">0.{'9' * count}"
    written, exponent = _rounded(value, count)
    shown = written.rstrip("0").ljust(min(count, max(3, exponent + 1)), "0")
    if not _LEAST_EXPONENT <= exponent < count:
        return f"{_point(shown, 1)}·10{str(exponent).translate(_RAISED)}"
    return f"0.{'0' * (-exponent - 1)}{shown}" if exponent < 0 else _point(shown, exponent + 1)


def apart(one: float, other: float) -> tuple[str, str]:
    """Both numbers with as many digits, at least three, as it takes to tell which is larger."""
    for count in range(3, 18):
        texts = digits(one, count), digits(other, count)
        if one == other or texts[0] != texts[1]:
            break
    return texts


def _rounded(value: float, count: int) -> tuple[str, int]:
    """The first ``count`` digits and the power of ten of the first one. Halves go up, as a browser rounds them."""
    carried = float(Context(prec=max(CARRIED, count), rounding=ROUND_HALF_UP).plus(Decimal(value)))
    number = Context(prec=count, rounding=ROUND_HALF_UP).plus(Decimal(carried))
    return "".join(map(str, number.as_tuple().digits)).ljust(count, "0")[:count], number.adjusted()


def _point(written: str, place: int) -> str:
    return written if len(written) <= place else f"{written[:place]}.{written[place:]}"
