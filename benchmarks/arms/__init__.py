"""Programs that make one engine's plain call as its users do, and the tool's own: one process each, asked in turn."""
