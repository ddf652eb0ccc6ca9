"""The child process: load once, warm up, repeat, tell the parent."""
