"""Which case a number is: kind, healthy input and damage, all from the seed and the number alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from pathlib import Path
from random import Random

from tests.fuzz import mutate, mutate_dicom, mutate_onnx, mutate_text, readers, seeds_kept
from tests.fuzz.seeds import SEEDS, Files, Seed, Store
from tests.fuzz.task import Absent, Read, Task

Change = Callable[[Files, Files, Random], Files]


def _one(files: Files, wanted: tuple[str, ...], random: Random) -> str:
    """The name of the file that is damaged: one whose name ends so."""
    return random.choice([name for name in sorted(files) if name.endswith(wanted)])


def _bytes(files: Files, other: Files, random: Random, wanted: tuple[str, ...] = ("",)) -> Files:
    name = _one(files, wanted, random)
    return {**files, name: mutate.damaged(files[name], random.choice(list(other.values())), random)}


def _by(damage: mutate.Damage, *wanted: str) -> Change:
    def change(files: Files, other: Files, random: Random) -> Files:
        name = _one(files, wanted or ("",), random)
        return {**files, name: damage(files[name], random.choice(list(other.values())), random)}

    return change


def _folder(files: Files, other: Files, random: Random) -> Files:
    """Several files of a folder are damaged, some lose their names' ending."""
    for _ in range(random.randint(1, 3)):
        files = _bytes(files, other, random)
    if random.random() < 0.3:
        name = _one(files, ("",), random)
        files = {(f"{number}{name}.txt" if n == name else n): c for number, (n, c) in enumerate(files.items())}
    return files


def _golden(files: Files, other: Files, random: Random) -> Files:
    name = _one(files, ("golden.json", "golden.png"), random)
    damage = mutate_text.damaged_json if name.endswith("json") else mutate.damaged
    return {**files, name: damage(files[name], files["manifest.toml"], random)}


def _graph(damage: mutate.Damage) -> Change:
    """The graph is damaged; the manifest is made to fit it again, else its hash would refuse every one of them."""

    def change(files: Files, other: Files, random: Random) -> Files:
        return seeds_kept.with_hashes(_by(damage, ".onnx")(files, other, random))

    return change


def _kept(files: Files, other: Files, random: Random) -> Files:
    name = _one(files, ("",), random)
    if name.endswith(".json"):
        return {**files, name: mutate_text.damaged_json(files[name], files[name], random)}
    damage = seeds_kept.damaged_document if random.random() < 0.6 else mutate.damaged
    return {**files, name: damage(files[name], files[name], random)}


@dataclass(frozen=True)
class Kind:
    """One row of the table: whose seeds, how they are damaged, which reader takes them, how many of a round."""

    seeds: str
    change: Change
    read: Callable[[Path], Read]
    share: int = 1
    without: str = ""  # a seed that has no such file

    @property
    def all_seeds(self) -> tuple[Seed, ...]:
        """The healthy inputs of this kind."""
        return tuple(seed for seed in SEEDS[self.seeds] if seed.name != self.without)


KINDS: Mapping[str, Kind] = {
    "video": Kind("video", _bytes, readers.read_source, 3),
    "gif": Kind("gif", _bytes, readers.read_source),
    "still": Kind("still", _bytes, readers.read_source, 3),
    "folder": Kind("folder", _folder, readers.read_folder),
    "dicom bytes": Kind("dicom", _bytes, readers.read_source, 2),
    "dicom tags": Kind("dicom", _by(mutate_dicom.damaged_tags), readers.read_source, 4),
    "manifest": Kind("model", _by(mutate_text.damaged_toml, ".toml"), readers.read_model, without="export"),
    "golden": Kind("model", _golden, readers.read_model, without="export"),
    "onnx bytes": Kind("model", _graph(mutate.damaged), readers.read_model),
    "onnx graph": Kind("model", _graph(mutate_onnx.damaged_graph), readers.read_model, 2),
    "settings": Kind("settings", _by(mutate_text.damaged_json), readers.read_settings),
    "layouts": Kind("layouts", _by(mutate_text.damaged_json), readers.read_layouts),
    "cache": Kind("cache", _kept, readers.read_cache),
}
ROUND: tuple[str, ...] = tuple(
    name
    for turn in range(max(kind.share for kind in KINDS.values()))
    for name, kind in KINDS.items()
    if turn < kind.share
)


def kind_of(number: int) -> str:
    """The kind of a case."""
    return ROUND[number % len(ROUND)]


def make(store: Store, seed: int, number: int) -> Files:
    """The files of a case. ``Absent`` where it starts from a real file that is not here."""
    kind = KINDS[kind_of(number)]
    random = Random(seed << 32 | number)
    one, other = random.choice(kind.all_seeds), random.choice(kind.all_seeds)
    files, others = store.files(one), store.files(other)
    if files is None or others is None:
        raise Absent(one.name)
    return kind.change(files, others, random)


def healthy_tasks(store_folder: Path) -> Iterator[Task]:
    """Every healthy input as it is: it has to be read."""
    done = set()
    for kind in KINDS.values():
        for seed in kind.all_seeds:
            if (kind.seeds, seed.name) not in done:
                done.add((kind.seeds, seed.name))
                write_it = partial(_write_healthy, store_folder, kind.seeds, seed.name)
                yield Task(kind.seeds, f"--healthy {seed.name}", write_it, kind.read, "read")


def _write_healthy(store_folder: Path, kind: str, name: str, folder: Path) -> None:
    files = Store(store_folder).files(next(seed for seed in SEEDS[kind] if seed.name == name))
    if files is None:
        raise Absent(name)
    for file, content in files.items():
        (folder / file).write_bytes(content)


def write(store_folder: Path, seed: int, number: int, folder: Path) -> None:
    """Write the files of a case into a folder."""
    for name, content in make(Store(store_folder), seed, number).items():
        (folder / name).write_bytes(content)


def task(store_folder: Path, seed: int, number: int) -> Task:
    """A case as a task for a worker."""
    kind = kind_of(number)
    again = f"--seed {seed} --case {number}"
    return Task(kind, again, partial(write, store_folder, seed, number), KINDS[kind].read)


def tasks(store_folder: Path, seed: int, cases: int, only: str | None = None) -> Iterator[Task]:
    """The first cases of a seed; of one kind, those of its numbers."""
    numbers = (number for number in count() if only is None or kind_of(number) == only)
    return (task(store_folder, seed, number) for number in islice(numbers, cases))
