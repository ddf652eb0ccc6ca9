"""Asking transformers what a model is: `asked` and `shipped` in the parent, the others in a child, with PyTorch."""
