"""Hugging Face transformers, with GPTQModel for quantised weights."""
