"""How every bundled model was made: recipes that run from the checkout, never shipped in the wheel.

Run them from the repository root, for example ``python -m models.training --help``.
"""

import usviewer  # noqa: F401  # first of all: engines that a recipe imports are told not to report on their users
