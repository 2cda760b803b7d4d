"""The version of the package, in a module that every other may read."""

__version__ = "0.1.0"
