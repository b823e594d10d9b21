"""How the shipped weights came about."""

from __future__ import annotations

import argparse


def origin(args: argparse.Namespace) -> str:
    """How the shipped weights came about, for the card."""
    if args.init is None:
        return f"The shipped weights: {args.steps} steps of {args.batch} pictures."
    return (
        f"The shipped weights continue the run `{args.init.parent.name}` for {args.steps} steps of {args.batch}"
        " pictures, on all pictures."
    )
