"""Engines: what generates the tokens. A folder each, and one line in pyproject.toml's entry points."""
