"""The machine: what its hardware is, how it is doing, and what it can do at best."""
