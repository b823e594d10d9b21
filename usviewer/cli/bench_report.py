"""What ``usviewer bench`` measured, and on what computer: as JSON, and as a page of Markdown."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from usviewer import __version__
from usviewer.cli.bench_cases import LiveResult, Result, Spread
from usviewer.files import make_folder, write_text
from usviewer.infer import choice, session
from usviewer.plain_text import in_markdown, printable

LIBRARIES = ("numpy", "opencv-python-headless", "av", "onnx", "PySide6-Essentials")


@dataclass(slots=True)
class Report:
    """Everything of one run."""

    command: str
    machine: Mapping[str, Any]
    model: Mapping[str, Any]
    source: str
    results: list[Result] = field(default_factory=list)
    choices: list[str] = field(default_factory=list)
    live: list[LiveResult] = field(default_factory=list)
    memory_mb: float = 0.0
    notes: list[str] = field(default_factory=list)


def write(report: Report, folder: Path, sections: Sequence[str] = ()) -> tuple[Path, Path]:
    """Write ``bench.json`` and ``bench.md``, each whole or not at all; ``sections`` end the page."""
    make_folder(folder)
    as_json, as_text = folder / "bench.json", folder / "bench.md"
    write_text(as_json, json.dumps(asdict(report), indent=1) + "\n")
    write_text(as_text, markdown(report, sections))
    return as_json, as_text


def markdown(report: Report, sections: Sequence[str] = ()) -> str:
    """The page, with further sections of Markdown at its end."""
    parts = [
        "# Benchmark",
        f"`{printable(report.command).replace('`', chr(39))}`",
        format_facts(report.machine),
        format_facts(report.model),
        f"Source: {in_markdown(report.source)}. Memory of the process at the end: {report.memory_mb:.0f} MB.",
    ]
    if report.results:
        parts += ["## A frame, ms", _table(report.results, clean=False)]
        if any(result.clean_ms for result in report.results):
            parts += [
                "### While no other process used more than an eighth of a core",
                _table(report.results, clean=True),
            ]
        parts += ["### Stages, p50 ms", _stages(report.results)]
    if report.choices:
        parts += ["## Choice of the engine", _list(report.choices)]
    parts += [_live(result) for result in report.live]
    if report.notes:
        parts += ["## Notes", _list(report.notes)]
    parts += sections
    return "\n\n".join(part for part in parts if part) + "\n"


def format_facts(facts: Mapping[str, Any]) -> str:
    """One line of names and values, as Markdown."""
    return ", ".join(f"{key.replace('_', ' ')}: {in_markdown(str(value))}" for key, value in facts.items())


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {in_markdown(line)}" for line in lines)


def _table(results: Sequence[Result], *, clean: bool) -> str:
    rows = ["| case | runs on | p50 | p95 | p99 | max | frames | frames/s |", "|---|---|---|---|---|---|---|---|"]
    for result in results:
        stages = result.clean_ms if clean else result.stages_ms
        for stage in ("total", "with drawing"):
            if stage in stages:
                name = result.name + (", drawn" if stage == "with drawing" else "")
                rate = f"{result.frames_per_second:.1f}" if stage == "total" and not clean else ""
                rows.append(
                    f"| {in_markdown(name)} | {in_markdown(result.engine)} | {_cells(stages[stage])} | {rate} |"
                )
    return "\n".join(rows)


def _cells(spread: Spread) -> str:
    times = (spread.p50, spread.p95, spread.p99, spread.maximum)
    return " | ".join(f"{time:.1f}" for time in times) + f" | {spread.count}"


def _stages(results: Sequence[Result]) -> str:
    own = [result for result in results if "infer" in result.stages_ms]
    names = [
        name for name in ("preprocess", "infer", "decode", "measure", "draw") if any(name in r.stages_ms for r in own)
    ]
    rows = [f"| case | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for result in own:
        cells = (f"{result.stages_ms[name].p50:.2f}" if name in result.stages_ms else "" for name in names)
        rows.append(f"| {in_markdown(result.name)} | {' | '.join(cells)} |")
    return "\n".join(rows) if own else ""


def _live(result: LiveResult) -> str:
    return (
        f"## Live, {result.rate:g} frames a second for {result.seconds:g} s on {result.engine}\n\n"
        f"Capture to overlay: p50 {result.latency_ms.p50:.1f}, p95 {result.latency_ms.p95:.1f}, "
        f"p99 {result.latency_ms.p99:.1f}, max {result.latency_ms.maximum:.1f} ms. {result.captured} captured, "
        f"{result.overlays} overlays, {result.dropped} dropped; {result.newest:.2%} of the overlays were of the newest "
        "frame that could be had."
    )


def facts() -> dict[str, Any]:
    """Processor, memory, system and versions, for the head of a report."""
    memory = psutil.virtual_memory()
    return {
        "processor": choice.processor(),
        "cores": session.usable_cores(),
        "memory_gib": round(memory.total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "usviewer": __version__,
        **session.versions(),
        **{name: found for name in LIBRARIES if (found := _version(name))},
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def memory_mb() -> float:
    """Of this process, resident."""
    return float(psutil.Process().memory_info().rss) / 1e6
