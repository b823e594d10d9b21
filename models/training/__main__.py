"""``python -m models.training ID``: make a bundled model again, from raw data to its folder under `models/`."""

from __future__ import annotations

import argparse

from models.training.recipe import run
from models.training.recipes import aorta, fetal_brain, fetal_head, nerve, prompt

RECIPES = {module.RECIPE.id: module.RECIPE for module in (aorta, fetal_brain, fetal_head, nerve, prompt)}


def main() -> None:
    """Run the recipe that is named; what follows its name is that recipe's own."""
    about = "; ".join(f"{recipe.id}: {recipe.about}" for recipe in RECIPES.values())
    parser = argparse.ArgumentParser(prog="python -m models.training", description=f"Make a bundled model. {about}.")
    parser.add_argument("model", choices=RECIPES)
    parser.add_argument("options", nargs=argparse.REMAINDER, help="see: python -m models.training MODEL --help")
    chosen = parser.parse_args()
    run(RECIPES[chosen.model], chosen.options)


if __name__ == "__main__":
    main()
