"""What the project costs, beside what it could cost: ``python -m benchmarks --help``."""
