"""Figures over many verdicts, each with its interval and the number of frames that it was counted on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from usviewer.evaluate.average_precision import BoxSample, average_precision
from usviewer.evaluate.datasets import LengthTruth
from usviewer.evaluate.statistics import (
    Agreement,
    Estimate,
    Overlap,
    agreement,
    bootstrap,
    mean,
    mean_absolute,
    proportion,
)
from usviewer.evaluate.verdict import Outcome, Verdict


@dataclass(frozen=True, slots=True)
class Score:
    """One figure. ``key`` is its stable name in ``summary.json``; ``unit`` is "", "%", "mm" or "px".

    ``count`` is the number of frames it was counted on.
    """

    key: str
    title: str
    estimate: Estimate
    count: int
    unit: str = ""


@dataclass(frozen=True, slots=True)
class ScoreSection:
    """The figures of one label, or of everything together."""

    title: str
    scores: tuple[Score, ...]
    pairs: tuple[tuple[float, float], ...] = ()
    pairs_unit: str = ""


Picker = Callable[[Verdict], float | None]


def _figure(
    key: str,
    title: str,
    verdicts: Iterable[Verdict],
    pick: Picker,
    unit: str = "",
    statistic: Callable[..., float] = mean,
) -> Score | None:
    """Statistic of what ``pick`` gives, over the verdicts for which it gives something; None for none."""
    pairs = [(value, verdict.group) for verdict in verdicts if (value := pick(verdict)) is not None]
    estimate = bootstrap([value for value, _ in pairs], [group for _, group in pairs], statistic)
    if estimate is None or math.isnan(estimate.value):  # limits of agreement of a single difference
        return None
    return Score(key, title, estimate, len(pairs), unit)


def _share(key: str, title: str, verdicts: Sequence[Verdict], true: Callable[[Verdict], bool]) -> Score | None:
    """Percentage of the verdicts of which something is true."""
    return _percent(key, title, [true(verdict) for verdict in verdicts], [verdict.group for verdict in verdicts])


def _percent(key: str, title: str, flags: Sequence[bool], groups: Sequence[str]) -> Score | None:
    share = proportion(flags, groups)
    if share is None:
        return None
    percent = Estimate(100.0 * share.value)
    if share.low is not None and share.high is not None:
        percent = Estimate(100.0 * share.value, 100.0 * share.low, 100.0 * share.high)
    return Score(key, title, percent, len(flags), "%")


def _section(title: str, scores: Iterable[Score | None], **more: object) -> ScoreSection:
    return ScoreSection(title, tuple(score for score in scores if score is not None), **more)  # type: ignore[arg-type]


# --- masks ------------------------------------------------------------------------------------------------------------


def mask_section(label: str, verdicts: Sequence[Verdict], length_title: str) -> ScoreSection:
    """Everything about one label's outlines, and about the length that is measured on them."""
    wanted = [verdict for verdict in verdicts if verdict.wanted]
    found = [verdict for verdict in wanted if verdict.outcome is Outcome.FOUND]
    scores = [*_presence(verdicts), *_overlaps(wanted, found), *_distances(found)]
    unit = _unit_of(wanted)
    pairs = [(true, measured) for v in wanted if (true := _in(v.true, unit)) and (measured := _in(v.measured, unit))]
    scores += _lengths(wanted, unit, length_title)
    return _section(label, scores, pairs=tuple(pairs), pairs_unit=unit)


def _presence(verdicts: Sequence[Verdict]) -> list[Score | None]:
    wanted = [verdict for verdict in verdicts if verdict.wanted]
    # False alarms are a share of the frames without the structure: of all frames they would look rarer than they are.
    absent = [verdict for verdict in verdicts if not verdict.wanted]
    return [
        _share("found_percent", "Found (any overlap)", wanted, lambda v: v.outcome is Outcome.FOUND),
        _share("found_half_percent", "Found with a Dice of 0.5 or more", wanted, _half),
        _share("missed_percent", "Missed (nothing outlined)", wanted, lambda v: v.outcome is Outcome.MISSED),
        _share("elsewhere_percent", "Outlined elsewhere only", wanted, lambda v: v.outcome is Outcome.ELSEWHERE),
        _share(
            "false_alarm_percent",
            "False alarms, where there is none",
            absent,
            lambda v: v.outcome is Outcome.FALSE_ALARM,
        ),
    ]


def _half(verdict: Verdict) -> bool:
    """Any shared pixel is "found"; this says whether it deserves the name."""
    return verdict.overlap is not None and verdict.overlap.dice >= 0.5


def _overlaps(wanted: Sequence[Verdict], found: Sequence[Verdict]) -> list[Score | None]:
    # Dice of those found alone would reward a model that outlines only the easy ones: both are given.
    dice, iou = _of_overlap(lambda shared: shared.dice), _of_overlap(lambda shared: shared.iou)
    precision, recall = _of_overlap(lambda shared: shared.precision), _of_overlap(lambda shared: shared.recall)
    return [
        _figure("dice", "Dice, misses count 0", wanted, dice),
        _figure("dice_found", "Dice, of those found", found, dice),
        _figure("iou", "IoU, misses count 0", wanted, iou),
        _figure("iou_found", "IoU, of those found", found, iou),
        _figure("precision", "Precision, where outlined", wanted, precision),
        _figure("recall", "Recall, misses count 0", wanted, recall),
    ]


def _of_overlap(figure: Callable[[Overlap], float | None]) -> Picker:
    """Pick a figure of a verdict's overlap; it gives nothing where no masks were compared."""

    def pick(verdict: Verdict) -> float | None:
        if verdict.overlap is None:
            return None
        return figure(verdict.overlap)

    return pick


def _distances(found: Sequence[Verdict]) -> list[Score | None]:
    # In mm only where every frame has a scale: a mean over some frames in mm and others in px has no unit.
    if found and all(verdict.hd95_mm is not None for verdict in found):
        return [
            _figure("hd95_mm", "HD95, of those found", found, lambda v: v.hd95_mm, "mm"),
            _figure("hausdorff_mm", "Hausdorff distance, of those found", found, lambda v: v.hausdorff_mm, "mm"),
        ]
    return [_figure("hd95_px", "HD95, of those found", found, lambda v: v.hd95_px, "px")]


# --- lengths ----------------------------------------------------------------------------------------------------------


def _unit_of(wanted: Sequence[Verdict]) -> str:
    """Millimetres when every true length has them, else pixels; empty when no length is judged."""
    true = [verdict.true for verdict in wanted if verdict.true is not None]
    if not true:
        return ""
    if all(length.mm is not None for length in true):
        return "mm"
    return "px"


def _in(length: LengthTruth | None, unit: str) -> float | None:
    if length is None:
        return None
    if unit == "mm":
        return length.mm
    return length.px


def difference(first: LengthTruth | None, second: LengthTruth | None, unit: str) -> float | None:
    """First minus second in ``unit`` ("mm" or "px"); None where one of them is not known in it."""
    a, b = _in(first, unit), _in(second, unit)
    if a is None or b is None:
        return None
    return a - b


def _lengths(wanted: Sequence[Verdict], unit: str, title: str) -> list[Score | None]:
    if not unit:
        return []
    known = [verdict for verdict in wanted if verdict.true is not None]
    judged = [verdict for verdict in known if verdict.holds is not None]
    return [
        _share("length_measured_percent", f"{title}: measured", known, lambda v: v.measured is not None),
        *_errors("length", title, known, unit, lambda v: difference(v.measured, v.true, unit)),
        _share(
            "interval_holds_percent",
            f"{title}: stated 95 % interval holds the truth",
            judged,
            lambda v: bool(v.holds),
        ),
        _figure("interval_half_width_mm", f"{title}: half of the stated interval", judged, _half_width, "mm"),
        *_errors("geometry", f"{title}, true mask", known, unit, lambda v: difference(v.geometry, v.true, unit)),
    ]


def _half_width(verdict: Verdict) -> float | None:
    if verdict.interval_mm is None:
        return None
    return 0.5 * (verdict.interval_mm[1] - verdict.interval_mm[0])


def _errors(key: str, title: str, verdicts: Sequence[Verdict], unit: str, pick: Picker) -> list[Score | None]:
    """Mean absolute error, bias and both limits of agreement, in the unit."""
    return [
        _figure(f"{key}_mae_{unit}", f"{title}: mean absolute error", verdicts, pick, unit, mean_absolute),
        _figure(f"{key}_bias_{unit}", f"{title}: bias", verdicts, pick, unit),
        _figure(f"{key}_lower_limit_{unit}", f"{title}: lower 95 % limit", verdicts, pick, unit, _lower),
        _figure(f"{key}_upper_limit_{unit}", f"{title}: upper 95 % limit", verdicts, pick, unit, _upper),
    ]


def _lower(values: Sequence[float]) -> float:
    return _limit(agreement(values), "lower_limit")


def _upper(values: Sequence[float]) -> float:
    return _limit(agreement(values), "upper_limit")


def _limit(found: Agreement | None, side: str) -> float:
    limit = getattr(found, side)
    if limit is None:
        return math.nan
    return float(limit)


# --- boxes ------------------------------------------------------------------------------------------------------------


def box_sections(names: Sequence[str], samples: Sequence[BoxSample], verdicts: Sequence[Verdict]) -> list[ScoreSection]:
    """The sections of a detector: mAP over all classes, then each class with precision and recall.

    mAP is taken over all scores, precision and recall at the model's own threshold. ``UserError`` without pycocotools.
    """
    found = average_precision(samples, len(names))
    if found is None:
        return []
    whole = [
        Score("map50", "mAP50", found.map50, len(samples)),
        Score("map50_95", "mAP50-95", found.map50_95, len(samples)),
    ]
    sections = [_section("all classes", whole)]
    for index, name in enumerate(names):
        own = [verdict for verdict in verdicts if verdict.label == name]
        maps = found.per_class.get(index)
        per_class = [
            Score(key, title, Estimate(value), len(samples))
            for key, title, value in zip(("map50", "map50_95"), ("AP50", "AP50-95"), maps or (), strict=False)
        ]
        sections.append(_section(name, [*per_class, *_at_threshold(own)]))
    return sections


def _at_threshold(verdicts: Sequence[Verdict]) -> list[Score | None]:
    """Precision and recall of boxes rather than pictures, at IoU 0.5."""
    wanted = sum(verdict.boxes_wanted or 0 for verdict in verdicts)
    given = sum(verdict.instances for verdict in verdicts)
    hits = sum(verdict.boxes_found or 0 for verdict in verdicts)
    absent = [verdict for verdict in verdicts if not verdict.wanted]
    scores: list[Score | None] = []
    if given:
        scores.append(Score("precision", "Precision at the model's threshold", Estimate(hits / given), given))
    if wanted:
        scores.append(Score("recall", "Recall at the model's threshold", Estimate(hits / wanted), wanted))
    title = "False alarms, where there is none"
    return [*scores, _share("false_alarm_percent", title, absent, lambda v: v.outcome is Outcome.FALSE_ALARM)]


# --- nothing to be found ----------------------------------------------------------------------------------------------


def negative_section(verdicts: Sequence[Verdict], group_word: str) -> ScoreSection:
    """False alarms per frame and per group, and how often a number would have been shown."""
    alarmed = {verdict.group for verdict in verdicts if verdict.outcome is Outcome.FALSE_ALARM}
    groups = list(dict.fromkeys(verdict.group for verdict in verdicts))
    return _section(
        "false alarms",
        [
            _share("false_alarm_percent", "Frames with one", verdicts, lambda v: v.outcome is Outcome.FALSE_ALARM),
            _share(
                "false_number_percent",
                "Frames with a false measurement",
                verdicts,
                lambda v: v.outcome is Outcome.FALSE_ALARM and v.status == "measured",
            ),
            _percent(
                "false_alarm_group_percent",
                f"{group_word.capitalize()}s with one",
                [group in alarmed for group in groups],
                groups,
            ),
        ],
    )
