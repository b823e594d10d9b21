"""``__init__.py`` for type checkers: there the names of ``usviewer.api`` come with their first use."""

from usviewer.api import *  # noqa: F403 - exactly its __all__

RESEARCH_USE: str
__version__: str
