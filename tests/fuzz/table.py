"""What a run found: the table, and each fault with the command that repeats it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.fuzz.task import Result

COLUMNS = ("cases", "read", "refused", "exceptions", "time-outs", "crashes", "memory", "unexpected", "poor", "absent")
MOST_LETTERS = 300
OUTCOMES = ("", "read", "refused", "exception", "time-out", "crash", "memory", "unexpected", "", "absent")


def table(results: Sequence[Result]) -> str:
    """One row for each kind and one for all. Memory: over the decoded picture; seconds: the slowest that came back."""
    kinds = list(dict.fromkeys(result.task.kind for result in results))
    head = f"{'kind':<12}" + "".join(f"{name:>11}" for name in COLUMNS) + f"{'most MB':>10}{'most s':>8}"
    rows = [_row(kind, [result for result in results if result.task.kind == kind]) for kind in kinds]
    return "\n".join([head, *rows, _row("all", results)])


def _row(name: str, results: Sequence[Result]) -> str:
    counts = [sum(result.outcome == outcome for result in results) for outcome in OUTCOMES]
    counts[0], counts[8] = len(results), sum(bool(result.poor) for result in results)
    most = max((result.extra_bytes - result.picture_bytes for result in results), default=0)
    slowest = max((result.seconds for result in results), default=0.0)
    return f"{name:<12}" + "".join(f"{count:>11}" for count in counts) + f"{max(most, 0) / 1e6:>10.0f}{slowest:>8.1f}"


def faults(results: Iterable[Result]) -> str:
    """Every kind of fault once, with how often it came and the first case that shows it; then the poor sentences."""
    groups: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        if not result.good:
            groups.setdefault((result.outcome, result.task.kind, result.where, result.said[:40]), []).append(result)
        elif result.poor:
            groups.setdefault(("poor sentence", result.task.kind, result.poor), []).append(result)
    return "\n".join(_fault(key[0], group) for key, group in sorted(groups.items()))


def _fault(what: str, group: Sequence[Result]) -> str:
    first = group[0]
    about = f"{first.extra_bytes / 1e6:.0f} MB " if first.outcome == "memory" else ""
    said = first.said if len(first.said) <= MOST_LETTERS else f"{first.said[:MOST_LETTERS]} ..."
    lines = [f"{what} x {len(group)}: {first.task.kind}: {about}{first.poor} {said!r}"]
    lines += [f"    {line}" for line in first.where.splitlines()]
    return "\n".join([*lines, f"    python -m tests.fuzz {first.task.again}"])
