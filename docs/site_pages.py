"""A hook of MkDocs: brings the pages that lie outside ``docs/`` into the site, their links pointing to its pages."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
# Where a file of the repository lies in the site. Cards keep their places, so that their pictures are found.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
}
CARDS = ("models/*/CARD.md", "models/*/*.jpg")
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List every decision of ``docs/adr/`` at the end of the last section, by its own title."""
    (pages,) = config.nav[-1].values()
    pages.append({"Decisions": [f"adr/{path.name}" for path in sorted((ROOT / "docs" / "adr").glob("*.md"))]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of ``PAGES`` and ``CARDS`` to the site's files."""
    found = {path.relative_to(ROOT).as_posix() for pattern in CARDS for path in ROOT.glob(pattern)}
    for source, place in (PAGES | {path: path for path in sorted(found)}).items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point the links of a page from the root of the repository to the pages of the site."""
    if page.file.src_uri not in PAGES.values():
        return markdown
    return LINK.sub(_in_site, markdown).replace("<details>", '<details markdown="1">')


def _in_site(link: re.Match[str]) -> str:
    target = posixpath.normpath(link[1])
    return f"]({PAGES.get(target, target.removeprefix('docs/'))}{link[2] or ''})"
