"""A release is a dated changelog and a tag, made only from a clean tree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "scripts" / "release"
CHANGELOG = (
    "# Changelog\n\nIn the user's words.\n\n## Unreleased\n\n- A window.\n\n## 0.1.0 - 2026-01-01\n\n- A start.\n"
)


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    done = subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small repository with something to release."""
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "config", "user.name", "A")
    git(tmp_path, "config", "user.email", "a@example.org")
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    git(tmp_path, "add", "CHANGELOG.md")
    git(tmp_path, "commit", "--quiet", "--message", "Begin")
    return tmp_path


def release(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], cwd=tree, capture_output=True, text=True)


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(tree: Path) -> None:
    done = release(tree, "0.2.0", "--dry-run")
    assert done.returncode == 0 and "tag v0.2.0" in done.stdout
    assert (tree / "CHANGELOG.md").read_text() == CHANGELOG and git(tree, "tag") == ""


def test_a_release_dates_the_changelog_and_tags(tree: Path) -> None:
    assert release(tree, "0.2.0").returncode == 0
    said = (tree / "CHANGELOG.md").read_text()
    before, _, after = said.partition("## 0.2.0 - 20")
    assert before.endswith("## Unreleased\n\n") and "- A window." in after and "## 0.1.0 - 2026-01-01" in after
    assert git(tree, "describe") == "v0.2.0" and git(tree, "status", "--porcelain") == ""
    assert release(tree, "0.2.1").returncode == 2  # nothing has changed since


@pytest.mark.parametrize(("version", "said"), [("2", "not a version"), ("v0.2.0", "not a version")])
def test_what_is_not_a_version_is_refused(tree: Path, version: str, said: str) -> None:
    done = release(tree, version)
    assert done.returncode == 2 and said in done.stderr


def test_a_tree_with_changes_is_not_released(tree: Path) -> None:
    (tree / "new.py").write_text("")
    assert "not clean" in release(tree, "0.2.0", "--dry-run").stderr
    (tree / "new.py").unlink()
    git(tree, "tag", "v0.2.0")
    assert "is there" in release(tree, "0.2.0").stderr


def test_a_changelog_without_anything_unreleased_is_refused(tree: Path) -> None:
    (tree / "CHANGELOG.md").write_text("# Changelog\n\n## 0.1.0 - 2026-01-01\n\n- A start.\n")
    git(tree, "commit", "--quiet", "--all", "--message", "Change")
    assert "no section" in release(tree, "0.2.0").stderr
