"""How fast, and in how much memory, a language model runs on this machine."""

__version__ = "0.3.0"
