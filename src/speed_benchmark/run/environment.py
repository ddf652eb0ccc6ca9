"""Which environment variables a worker sees, which a record keeps, and which neither may know: secrets.

A worker runs code of a model where its user allows that, so it sees a list of what is known to be needed, and no more:
names, and prefixes of the libraries whose variables change from version to version. Below such a prefix, too, a
variable that looks like a secret is held back, by its name or by its value.
"""

import os
import re
from collections.abc import Mapping, Sequence

from speed_benchmark.machine import nvml

# What locates programs, libraries, caches and devices, and says how text is written.
_PASSED = {
    *("CC", "CUDACXX", "CXX", "HOME", "LANG", "LD_LIBRARY_PATH", "LOGNAME", "MAX_JOBS", "PATH", "SHELL", "TERM"),
    *("TMPDIR", "TZ", "USER", "VIRTUAL_ENV"),
    *("LC_ALL", "LC_COLLATE", "LC_CTYPE", "LC_MESSAGES", "LC_MONETARY", "LC_NUMERIC", "LC_TIME"),
    *("NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_VISIBLE_DEVICES"),
    # Of Python's own, none that names code to be run.
    *("PYTHONCOERCECLOCALE", "PYTHONDEVMODE", "PYTHONDONTWRITEBYTECODE", "PYTHONFAULTHANDLER", "PYTHONHASHSEED"),
    *("PYTHONHOME", "PYTHONIOENCODING", "PYTHONMALLOC", "PYTHONNOUSERSITE", "PYTHONOPTIMIZE", "PYTHONPATH"),
    *("PYTHONPYCACHEPREFIX", "PYTHONSAFEPATH", "PYTHONUNBUFFERED", "PYTHONUSERBASE", "PYTHONUTF8", "PYTHONWARNINGS"),
    *("PYTHON_GIL", "PYTHON_JIT"),
    *("XDG_CACHE_HOME", "XDG_CONFIG_DIRS", "XDG_CONFIG_HOME", "XDG_DATA_DIRS", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"),
    "XDG_STATE_HOME",
}
# What steers the libraries of numbers and devices, whatever engine uses them.
_STEERING = {"NVIDIA_TF32_OVERRIDE"}
_STEERING_PREFIXES = (
    *("CUDA_", "GOMP_", "KMP_", "MKL_", "NCCL_", "NUMEXPR_", "NVSHMEM_", "OMP_", "OPENBLAS_"),
    *("PYTORCH_", "TORCH_", "TORCHDYNAMO_", "TORCHINDUCTOR_", "TRITON_"),
)
_SECRET_NAME = re.compile(
    r"KEY|TOKEN(?!IZ)|SECRET|PASS(?!ES)|AUTH(?!OR(?!IZ))|CRED|COOKIE|PRIVATE|SIGNATURE"
    r"|(?<![A-Z])(PAT|PSK|PW|(?<=_)PWD|SAS|JWT)S?(?![A-Z])"
)
# Numbers of tokens of a model, not for a login; they steer engines.
_TOKEN_COUNT = re.compile(r"TOKENS|TOKEN_THRESHOLD")
_SECRET_TEXT = re.compile(
    r"(://)[^\s/@]+(?=@)"  # the user and the password of an address
    r"|((?i:\bauthorization\W{1,4}))[^'\"\s]{2}[^'\"\n]*|((?i:\bbearer ))[\w.~+/=-]{8,}"
    r"|\b(?:hf_|gh[opsur]_|npm_)[A-Za-z0-9]{16,}|\b(?:sk-|github_pat_|glpat-|nvapi-|xox[a-z]-|pypi-)[\w-]{16,}"
    r"|\bms-[0-9a-f]{8}-[0-9a-f-]{8,}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{30,}|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
)
_HIDDEN = "***"
# A shorter value is a word that stands in many a text.
_LEAST_HIDDEN = 6
# Of machines: a record is passed on, and need not say where somebody's are.
_ADDRESS_NAME = re.compile(r"(?<![A-Z])(ADDR|ADDRESS|ENDPOINT|HOST|IP|PORT|SERVER|URI|URL)S?(?![A-Z])")
_ADDRESS_VALUE = re.compile(r"://|@|\d+\.\d+\.\d+\.\d+|::|(?:[0-9A-Fa-f]{1,4}:){4}")
# The hubs' clients, which would read the token of a login from a file, look for it where none can be.
_LOGGED_OUT = {
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "HF_TOKEN_PATH": os.devnull,
    "MODELSCOPE_HOME": os.devnull,
}


def worker_environment(gpus: Sequence[int], prefixes: Sequence[str] = ()) -> dict[str, str]:
    """What a worker on `gpus` sees of the environment.

    `prefixes` are those of the variables that steer its engine.
    """
    passed = {
        name: value
        for name, value in os.environ.items()
        if (name in _PASSED or _steers(name, prefixes)) and not is_secret(name, value)
    }
    return passed | {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": ",".join(map(nvml.cuda_name, gpus)),
        "HF_HUB_OFFLINE": "1",  # everything was fetched by the parent
        **_LOGGED_OUT,
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        # Without it CUPTI stays attached once a cell was profiled, and all later launches take a third longer.
        "TEARDOWN_CUPTI": "1",
    }


def steering(prefixes: Sequence[str] = ()) -> Mapping[str, str]:
    """The variables that may change what a library, or the engine with these `prefixes`, does.

    No secrets, no paths, no addresses.
    """
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if _steers(name, prefixes)
        and not is_secret(name, value)
        and "/" not in value
        and not _ADDRESS_NAME.search(name.upper())
        and not _ADDRESS_VALUE.search(value)
    }


def is_secret(name: str, value: str) -> bool:
    """Whether a variable looks like one that holds what nobody else may know."""
    name = name.upper()
    if value.isdecimal():
        name = _TOKEN_COUNT.sub("", name)
    return bool(_SECRET_NAME.search(name) or _SECRET_TEXT.search(value))


def without_secrets(text: str) -> str:
    """`text` without what looks like a secret: tokens, and the values of this process's variables that hold one."""
    lines = {
        line
        for name, value in os.environ.items()
        if is_secret(name, value)
        for line in value.splitlines()
        if len(line) >= _LEAST_HIDDEN
    }
    if lines:  # the longest first: a shorter one may be a part of it
        text = re.sub("|".join(map(re.escape, sorted(lines, key=len, reverse=True))), _HIDDEN, text)
    return _SECRET_TEXT.sub(rf"\1\2\3{_HIDDEN}", text)


def _steers(name: str, prefixes: Sequence[str]) -> bool:
    return name in _STEERING or name.startswith((*_STEERING_PREFIXES, *prefixes))
