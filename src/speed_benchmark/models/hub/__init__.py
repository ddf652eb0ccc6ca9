"""Hubs of models: Hugging Face and its mirrors, ModelScope."""
