"""Models: which there are, where their weights come from, and made-up weights of their true shape."""
