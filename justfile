# Short names for the documented commands (CONTRIBUTING.md). `just` is optional: each line can be typed as it stands here.

python := ".venv/bin/python"

# List the recipes
default:
    @just --list

# Everything that the tests and checks need, in .venv
setup:
    ./setup.sh test
    {{python}} -m pip install -e '.[dev]'
    .venv/bin/pre-commit install

# The fast loop: less than a minute on two cores
test-fast *ARGS:
    {{python}} -m pytest -n 2 --dist loadfile -q -m "not slow" {{ARGS}}

# All tests
test *ARGS:
    {{python}} -m pytest -n 2 --dist loadfile {{ARGS}}

# What the linters of CI say
lint:
    .venv/bin/ruff check .
    .venv/bin/ruff format --check .
    .venv/bin/mypy
    .venv/bin/lint-imports
    .venv/bin/typos
    .venv/bin/validate-pyproject pyproject.toml
    .venv/bin/uv lock --check

# The window
window *ARGS:
    .venv/bin/usviewer {{ARGS}}

# Damaged files for every reader
fuzz *ARGS:
    {{python}} -m tests.fuzz --cases 1000 {{ARGS}}

# How fast this computer is, stage by stage
bench *ARGS:
    .venv/bin/usviewer bench {{ARGS}}

# Make a bundled model again: just recipe aorta
recipe NAME *ARGS:
    {{python}} -m models.training {{NAME}} {{ARGS}}

# The documentation site
docs:
    .venv/bin/mkdocs build --strict

# A release: just release 0.2.0 --dry-run
release *ARGS:
    scripts/release {{ARGS}}
