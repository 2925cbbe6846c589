"""Numbers as people read them: one rule, in Python and in the browser."""

from __future__ import annotations

import json
import random
import subprocess
from fractions import Fraction

import pytest
from playwright._impl._driver import compute_driver_executable

from specviz.digits import CARRIED, apart, digits
from specviz.engine.row_recording import _short
from specviz.figures.export import VIEWER_FOLDER
from specviz.figures.node import number


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "–"),
        (0.0, "0"),
        (1.0, "1"),
        (0.349, "0.349"),
        (0.32, "0.320"),
        (0.5, "0.500"),
        (0.00804, "0.00804"),
        (0.001, "0.00100"),
        (0.000389, "3.89·10⁻⁴"),
        (5e-324, "4.94·10⁻³²⁴"),
        (0.9994, "0.999"),
        (0.9996, ">0.999"),
        (1 - 2**-24, ">0.999"),
        (1.0004, "1.00"),
        (12.34, "12.3"),
        (999.4, "999"),
        (1234.0, "1.23·10³"),
        (-0.25, "−0.250"),
    ],
)
def test_three_digits_and_never_a_false_zero_or_one(value, said):
    assert digits(value) == said


def test_more_digits_where_they_are_asked_for():
    assert digits(0.1234567, 7) == "0.1234567"
    assert digits(0.5, 7) == "0.500", "zeros that nobody measured are not written"
    assert digits(1234.5, 7) == "1234.5"
    assert digits(1.2e-7, 2) == "1.2·10⁻⁷"
    assert digits(1e-4, 1) == "1·10⁻⁴"
    assert digits(0.05, 1) == "0.05"


def test_two_numbers_that_differ_never_read_the_same():
    assert apart(0.3, 0.7) == ("0.300", "0.700")
    assert apart(0.34912, 0.34918) == ("0.3491", "0.3492")
    assert apart(0.25, 0.25) == ("0.250", "0.250")
    assert len(set(apart(1 - 2**-24, 1 - 2**-23))) == 2


def values() -> list[float]:
    """Of every size, with the numbers at which rounding turns, and exact halves."""
    luck = random.Random(0)
    made = [10 ** luck.uniform(-12, 4) for _ in range(600)] + [1 - 10 ** luck.uniform(-16, -1) for _ in range(200)]
    made += [k / 2**m for m in range(1, 16) for k in range(1, min(2**m, 100))]
    made += [float(Fraction(k, 1000) + Fraction(s, 2000)) for k in range(1, 1100, 7) for s in (-1, 0, 1)]
    made += [0.0, 1.0, 5e-324, 2**-24, 1 - 2**-24, 0.9995, 0.00099995, 0.000999949, 1e-3, 1e300, -0.5, -1e-9]
    return made


def test_python_and_the_viewer_write_the_same() -> None:
    tried = [(value, count) for value in values() for count in (1, 2, 3, 7)]
    script = f"""import {{ digits }} from {json.dumps((VIEWER_FOLDER / "core" / "digits.js").as_uri())};
const tried = {json.dumps(tried)};
console.log(JSON.stringify(tried.map(([value, count]) => digits(value, count))));"""
    node = compute_driver_executable()[0]
    done = subprocess.run([node, "--input-type=module", "-"], input=script, capture_output=True, text=True, check=True)
    assert [digits(value, count) for value, count in tried] == json.loads(done.stdout)


def test_what_a_page_is_sent_reads_as_what_was_recorded():
    for value in values():
        assert digits(number(value, CARRIED)) == digits(value) == digits(number(value, 7))


def test_a_recorded_probability_below_one_is_not_recorded_as_one():
    assert digits(_short(1 - 2**-24)) == ">0.999"
    assert _short(1.0) == 1
    assert _short(0.12345678) == 0.123457
