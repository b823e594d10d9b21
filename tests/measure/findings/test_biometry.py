"""The checked vectors and wrong variants of docs/clinical.md, "Gestational age and centiles": no wrong one passes."""

from __future__ import annotations

import json
import math

import pytest

from tests.conftest import VECTORS
from usviewer.errors import UserError
from usviewer.measure.findings import biometry
from usviewer.measure.geometry import Ellipse


def vectors(name):
    return json.loads(VECTORS.read_text(encoding="utf-8"))[name]


def weeks_of(formula):
    """True where a formula gives Hadlock's weeks for every vector, to the four digits stated."""
    return all(abs(formula(v["hc_mm"] / 10) - v["hadlock_weeks"]) < 6e-5 for v in vectors("ga_from_hc"))


def around(formula):
    """True where a formula of the two semi-axes gives every exact circumference, to the four digits stated."""
    return all(abs(formula(v["a_mm"], v["b_mm"]) - v["exact"]) < 1.1e-4 for v in vectors("ellipse_hc_mm"))


@pytest.mark.parametrize("v", vectors("ellipse_hc_mm"))
def test_circumference(v):
    ellipse = Ellipse((0.0, 0.0), v["a_mm"], v["b_mm"], 0.3)
    assert ellipse.circumference == pytest.approx(v["exact"], abs=1.1e-4)
    assert ellipse.circumference == pytest.approx(v["ramanujan1"], abs=1.1e-4)
    assert 100 / ellipse.elongation == pytest.approx(v["ci_percent"], abs=0.006)
    assert (2 * ellipse.semi_minor, 2 * ellipse.semi_major) == (v["bpd"], v["ofd"])


def test_the_right_circumference_passes_and_the_wrong_ones_do_not():
    assert around(lambda a, b: Ellipse((0.0, 0.0), a, b, 0.0).circumference)
    assert not around(lambda a, b: math.pi * (a + b))
    assert not around(lambda a, b: 1.57 * 2 * (a + b))
    assert not around(lambda a, b: 2 * math.pi * math.sqrt((a * a + b * b) / 2))


@pytest.mark.parametrize("v", vectors("ga_from_hc"))
def test_gestational_age(v):
    assert biometry.hadlock_weeks(v["hc_mm"]) == pytest.approx(v["hadlock_weeks"], abs=6e-5)
    assert biometry.intergrowth_days(v["hc_mm"]) == pytest.approx(v["ig21_days"], abs=6e-4)
    assert biometry.intergrowth_days(v["hc_mm"]) / 7 == pytest.approx(v["ig21_weeks"], abs=6e-5)


def test_the_wrong_variants_of_hadlock_do_not_pass():
    assert weeks_of(lambda cm: biometry.hadlock_weeks(10 * cm))
    squared = lambda cm: 8.96 + 0.540 * cm + 0.0003 * cm**2  # noqa: E731
    other = lambda cm: 8.96 + 0.540 * cm - 0.0040 * cm**2 + 0.000399 * cm**3  # noqa: E731
    assert not weeks_of(squared)
    assert not weeks_of(other)
    assert not weeks_of(lambda cm: biometry.hadlock_weeks(cm))  # centimetres taken for millimetres
    (reject,) = vectors("hadlock_reject")
    assert squared(17.5) == pytest.approx(reject["bug_hc_squared"], abs=6e-4)
    assert other(17.5) == pytest.approx(reject["bug_0.000399_poly"], abs=1e-3)
    assert biometry.hadlock_weeks(reject["hc_mm"]) == pytest.approx(reject["correct_weeks"], abs=6e-4)


@pytest.mark.parametrize("v", vectors("ig21_hc_mu_sd"))
def test_the_standard_and_its_centiles(v):
    mean, sd = biometry.circumference_standard(v["ga_weeks"])
    assert mean == pytest.approx(v["mu_mm"], abs=6e-4)
    assert sd == pytest.approx(v["sd_mm"], abs=6e-5)
    for centile in (3, 10, 90, 97):
        found = biometry.circumference_centile(v[f"p{centile}"], v["ga_weeks"])
        assert found == pytest.approx(centile, abs=0.05)


def test_a_centile():
    (v,) = vectors("ig21_z")
    mean, sd = biometry.circumference_standard(v["ga_weeks"])
    assert (v["hc_mm"] - mean) / sd == pytest.approx(v["z"], abs=6e-5)
    assert biometry.circumference_centile(v["hc_mm"], v["ga_weeks"]) == pytest.approx(v["centile"], abs=0.006)


@pytest.mark.parametrize(
    ("weeks", "words"), [(13.434, "13w3d"), (20.018, "20w0d"), (20.95, "21w0d"), (0.99, "1w0d"), (22.160, "22w1d")]
)
def test_weeks_and_days_are_truncated_then_rounded_with_a_carry(weeks, words):
    assert biometry.age_words(weeks) == words


@pytest.mark.parametrize(
    ("hc_mm", "known"), [(67.9, False), (68.0, True), (300.0, True), (357.0, True), (358.5, False)]
)
def test_hadlock_is_refused_outside_its_table(hc_mm, known):
    assert (biometry.age_by_hadlock(hc_mm) is not None) is known


@pytest.mark.parametrize(("hc_mm", "known"), [(0.0, False), (97.0, False), (99.0, True), (345.0, True), (352.0, False)])
def test_intergrowth_is_refused_outside_14_to_40_weeks(hc_mm, known):
    assert (biometry.age_by_intergrowth(hc_mm) is not None) is known


@pytest.mark.parametrize("weeks", [13.9, 40.1])
def test_there_is_no_centile_outside_the_standard(weeks):
    assert biometry.circumference_centile(200.0, weeks) is None
    with pytest.raises(ValueError, match="14 to 40"):
        biometry.circumference_standard(weeks)


def test_the_error_of_an_age_grows_by_trimester():
    assert [biometry.age_sd_days(weeks) for weeks in (13.9, 14.0, 27.9, 28.0, 41.0)] == [4.3, 4.7, 4.7, 12.4, 12.4]


@pytest.mark.parametrize(
    ("text", "weeks"),
    [("28", 28.0), ("28.50", 28.5), ("28,50", 28.5), ("28.0", 28.0), ("28+3", 28 + 3 / 7), (" 9+0 ", 9.0)],
)
def test_an_age_is_read_as_people_type_it(text, weeks):
    assert biometry.weeks_from_text(text) == pytest.approx(weeks)


@pytest.mark.parametrize("text", ["", "28+7", "2", "46", "-3", "28w", "28+3.5", "28.5+1", "nan", "2e1", "٢٨", "45+3"])
def test_what_is_no_age_is_refused(text):
    with pytest.raises(UserError):
        biometry.weeks_from_text(text)


@pytest.mark.parametrize("text", ["28.3", "28,3", "28.5"])
def test_weeks_and_days_with_a_point_between_them_are_not_guessed(text):
    with pytest.raises(UserError, match="28 weeks and"):
        biometry.weeks_from_text(text)
