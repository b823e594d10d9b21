"""What ``usviewer analyze`` and an export of what was pointed at write stays as it is, byte for byte.

A network's outputs differ in their last bits between processors, engines and releases. So the answers of the real
networks were kept once (``tests/golden/answers``) and are given again here, through the program's own loading, temporal
gate, measuring, drawing and writing: what comes after the network is the same on every computer, and compared as text
(``tests/golden/expected``). One more test asks the real networks, and compares their numbers within a tolerance.

Tables, documents and the report are compared line by line, but for what ``tests.golden.outputs.VOLATILE`` names;
pictures by a digest of their pixels (where other releases of what draws them are installed, by a small copy); clips by
the number and size of their frames. Record them again with ``python -m tests.golden --record`` where a change is meant,
and say in the commit why.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.golden import outputs, run
from tests.golden.cases import ANALYZED, POINTED, AnalyzeCase

MOST_SHOWN = 12
# The real network on another processor or engine against the kept answers.
TOLERANCE_MM, TOLERANCE_PX, RELATIVE, SCORE = 0.5, 2.0, 0.02, 0.05
# At a gate a frame may be measured here and not there.
MOST_OTHER_STATUS = 0.05
NOT_NUMBERS = ("frame", "time_s", "instances", "plane_set")


@pytest.fixture(params=ANALYZED, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> AnalyzeCase:
    found: AnalyzeCase = request.param
    if not found.here:
        pytest.skip("real images are not here")
    return found


def assert_golden(name: str, found: Mapping[str, str], *, rendered: bool = False) -> None:
    same_makers = run.same_makers(rendered=rendered)
    messages = outputs.differences(run.golden_texts(name), found, same_makers=same_makers)
    if not messages:
        return
    shown = "\n".join(f"tests/golden/expected/{name}/{message}" for message in messages[:MOST_SHOWN])
    pytest.fail(
        f"{len(messages)} differences, the first of them:\n{shown}\n"
        f"If this is meant: python -m tests.golden --record {name}",
        pytrace=False,
    )


def test_analyze_writes_what_it_always_wrote(case: AnalyzeCase, tmp_path: Path) -> None:
    assert_golden(case.name, run.replayed(case, tmp_path), rendered=case.rendered)


def test_an_export_of_what_was_pointed_at_is_what_it_always_was(tmp_path: Path) -> None:
    assert_golden(POINTED, run.pointed(tmp_path))


def test_the_real_networks_give_the_golden_numbers_within_a_tolerance(case: AnalyzeCase, tmp_path: Path) -> None:
    found = _rows(run.analyzed(case, tmp_path, "--no-video")["readings.csv"])
    golden = _rows(run.golden_texts(case.name)["readings.csv"])
    assert [row["frame"] for row in found] == [row["frame"] for row in golden]
    pairs = [(was, is_now) for was, is_now in zip(golden, found, strict=True) if was["status"] == is_now["status"]]
    assert len(pairs) >= (1 - MOST_OTHER_STATUS) * len(golden)
    for was, is_now in pairs:
        for column in was:
            if (known := _number(column, was[column])) is not None:
                off = abs(float(is_now[column] or "nan") - known)
                assert off <= _tolerance(column, known), f"frame {was['frame']}, {column}: {known}, {is_now[column]}"


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def _number(column: str, text: str) -> float | None:
    if column in NOT_NUMBERS:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _tolerance(column: str, known: float) -> float:
    if column in ("score", "quality") or column.endswith("_score"):
        return SCORE
    return max(RELATIVE * abs(known), TOLERANCE_PX if column.endswith("_px") else TOLERANCE_MM)


# --- the net itself ---------------------------------------------------------------------------------------------------


def test_a_difference_names_file_line_and_both_texts() -> None:
    before = {"a.csv": "x,y\n1,2\n", outputs.PICTURES: "{}"}
    (message,) = outputs.differences(before, {**before, "a.csv": "x,y\n1,3\n"}, same_makers=True)
    assert message == "a.csv:2 (y)\n  golden: 1,2\n  now:    1,3"
    (gone,) = outputs.differences(before, {outputs.PICTURES: "{}"}, same_makers=True)
    assert gone == "a.csv: not written any more"


def test_other_releases_that_draw_are_forgiven_a_digest_but_not_another_picture() -> None:
    golden = run.golden_texts("aorta-still")
    other = {**golden, outputs.PICTURES: golden[outputs.PICTURES].replace('"pixels": "', '"pixels": "0')}
    assert len(outputs.differences(golden, other, same_makers=True)) == 2
    assert outputs.differences(golden, other, same_makers=False) == []
    strange = {**golden, outputs.PICTURES: run.golden_texts("fetal-head-still")[outputs.PICTURES]}
    assert outputs.differences(golden, strange, same_makers=False)
