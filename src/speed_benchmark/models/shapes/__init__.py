"""Asking transformers what a model is: `asked` in the parent, the other files in a child process, with PyTorch."""
