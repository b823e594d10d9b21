"""What developers measure, run from a checkout: ``python -m benchmarks.NAME``. Not part of the wheel."""
