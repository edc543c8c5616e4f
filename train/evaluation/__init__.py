"""How good a model is, in numbers: ``python -m train evaluate``."""
