"""specviz: see every step of a speculative decode."""

__version__ = "0.1.0"
