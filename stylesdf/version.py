"""The package's version, here so that results can tell which one made them."""

__version__ = "0.1.0"
