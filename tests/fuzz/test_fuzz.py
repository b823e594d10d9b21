"""A short run over every reader, and the suite itself: it must be able to fail."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from tests.fuzz import broken, cases, known, table
from tests.fuzz.run import run
from tests.fuzz.seeds import Store
from tests.fuzz.sentence import fault_of
from tests.fuzz.task import Absent, Result, Task

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SEED = 11
SHORT_CASES = 220  # ten rounds over all kinds: half a minute on two cores
JOBS = 2


def store_of(folder: Path) -> Path:
    store = folder / "seeds"
    store.mkdir(exist_ok=True)
    return store


def check(results: list[Result]) -> None:
    assert all(result.good for result in results), f"\n{table.table(results)}\n{table.faults(results)}"


def test_damaged_inputs_are_read_or_refused(tmp_path: Path) -> None:
    check(list(run(cases.tasks(store_of(tmp_path), SEED, SHORT_CASES), tmp_path, JOBS)))


def test_inputs_that_once_did_harm_are_read_or_refused(tmp_path: Path) -> None:
    light = [task for name, task in known.KNOWN.items() if name not in known.HEAVY]
    check(list(run(light, tmp_path, JOBS)))


def test_every_healthy_input_is_read(tmp_path: Path) -> None:
    check(list(run(cases.healthy_tasks(store_of(tmp_path)), tmp_path, JOBS)))


# --- the suite itself ------------------------------------------------------------------------------------------------


TASKS = {
    "read": Task("broken", "1", broken.write, broken.reads),
    "refused": Task("broken", "2", broken.write, broken.refuses),
    "exception": Task("broken", "3", broken.write, broken.raises),
    "memory for a picture": Task("broken", "4", broken.write, broken.hoards_for_a_picture),
    "unexpected": Task("broken", "5", broken.write, broken.reads, "refused"),
    "poor": Task("broken", "6", broken.write, broken.says_it_badly),
    "slow to make": Task("broken", "7", broken.write_slowly, broken.reads, max_seconds=1.0),
    "memory": Task("broken", "8", broken.write, broken.hoards),
    "crash": Task("broken", "9", broken.write, broken.crashes),
    "time-out": Task("broken", "10", broken.write, broken.hangs, max_seconds=1.0),
    "all memory": Task("broken", "11", broken.write, broken.hoards_all),
    "read at the end": Task("broken", "12", broken.write, broken.reads),
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> dict[str, Result]:
    """What came of each of the broken readers, in one run: it goes on after each of them."""
    return dict(zip(TASKS, run(TASKS.values(), tmp_path_factory.mktemp("run"), keep=kept), strict=True))


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("read", "read"),
        ("refused", "refused"),
        ("exception", "exception"),
        ("memory for a picture", "read"),
        ("unexpected", "unexpected"),
        ("poor", "refused"),
        ("slow to make", "read"),
        ("memory", "memory"),
        ("crash", "crash"),
        ("time-out", "time-out"),
        ("all memory", "memory"),
        ("read at the end", "read"),
    ],
)
def test_a_broken_reader_is_noticed(outcomes: dict[str, Result], kept: Path, name: str, outcome: str) -> None:
    result = outcomes[name]
    assert result.outcome == outcome
    assert result.good is (outcome in ("read", "refused"))
    assert (kept / result.task.again / "repeat.txt").exists() is not result.good


def test_only_time_and_memory_are_tried_again_and_it_is_told(outcomes: dict[str, Result]) -> None:
    assert outcomes["memory"].again == "memory"  # the process had read others before
    assert outcomes["crash"].again == ""


def test_the_place_of_a_fault_is_told(outcomes: dict[str, Result]) -> None:
    assert outcomes["exception"].where.startswith("fuzz/broken.py")
    assert "in crashes" in outcomes["crash"].where
    assert "in hangs" in outcomes["time-out"].where


def test_a_refusal_in_the_words_of_a_programmer_is_told(outcomes: dict[str, Result]) -> None:
    assert outcomes["poor"].poor == "a programmer's word: Errno"


def test_the_table_counts_and_the_faults_are_named(outcomes: dict[str, Result]) -> None:
    row = table.table(list(outcomes.values())).splitlines()[-1].split()
    assert row[:11] == ["all", "12", "4", "2", "1", "1", "1", "2", "1", "1", "0"]
    said = table.faults(outcomes.values())
    assert "python -m tests.fuzz 9" in said and "KeyError" in said and "Errno" in said


def test_a_case_is_the_same_each_time(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    numbers = [number for number in range(60) if "video" not in cases.kind_of(number)]
    for number in numbers:
        assert content(one, number) == content(two, number), number
    assert content(one, 3, seed=2) != content(one, 3)


def content(folder: Path, number: int, seed: int = 1) -> object:
    try:
        return cases.make(Store(folder), seed, number)
    except Absent:
        return None


def test_only_one_kind_keeps_the_numbers_of_its_cases(tmp_path: Path) -> None:
    some = [task.again for task in cases.tasks(tmp_path, 1, 5, "cache")]
    every = [task.again for task in islice(cases.tasks(tmp_path, 1, 1000), 1000) if task.kind == "cache"]
    assert some == every[:5]


@pytest.mark.parametrize(
    ("sentence", "fault"),
    [
        ("The file is damaged. Copy it again.", ""),
        ("The file is damaged", "no full stop"),
        ("The file\nis damaged.", "more than one line"),
        (f"{'x' * 400}.", "401 letters"),
        ("list index out of range in foo.bar().", "a programmer's word: foo.bar("),
        ("It raised a KeyError.", "a programmer's word: KeyError"),
        ("There is no /tmp/x/model.onnx.", "a temporary path"),
    ],
)
def test_a_sentence_for_a_user(sentence: str, fault: str) -> None:
    assert fault_of(sentence, "/tmp/x") == fault
