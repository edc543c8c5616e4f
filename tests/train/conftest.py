"""What all tests of the kit run with."""

import pytest

from train.stages import prior


@pytest.fixture(autouse=True)
def few_paths(monkeypatch):
    """The prior's mapping learns from few paths of its flow."""
    monkeypatch.setattr(prior, "CODE_PATHS", 500)
