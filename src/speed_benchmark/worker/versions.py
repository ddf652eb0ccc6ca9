"""Which versions of packages a worker has."""

from importlib.metadata import distributions

from speed_benchmark.engines import registry

# What several engines stand on; each names what is its own in its traits.
PACKAGES = {
    *("accelerate", "compressed-tensors", "flash-attn", "flashinfer-python", "huggingface-hub", "intel-openmp"),
    *("kernels", "modelscope", "numpy", "optimum", "ray", "safetensors", "tokenizers", "torch", "torchao", "triton"),
    *("xformers",),
}
PREFIXES = ("nvidia-",)


def versions(engine: str) -> dict[str, str]:
    """Versions of the packages that the speed of `engine` depends on: its own, shared ones, and other engines'.

    Those of other engines because one may stand on another.
    """
    engines = {engine, *registry.names()}
    wanted = PACKAGES.union(*map(_packages, engines))
    found = ((_normalised(str(one.metadata["Name"])), one.version) for one in distributions())
    return {name: version for name, version in found if name in wanted or name.startswith(PREFIXES)}


def _packages(engine: str) -> tuple[str, ...]:
    try:
        return registry.settings_class(engine).traits.packages
    except Exception:  # noqa: BLE001 - another engine's plugin may be broken in any way
        return ()


def _normalised(name: str) -> str:
    return name.lower().replace("_", "-")
