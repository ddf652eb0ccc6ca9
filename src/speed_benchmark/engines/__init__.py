"""Engines: what generates the tokens. One file each, and one line in pyproject.toml's entry points."""
