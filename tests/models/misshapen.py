"""Configs with changed values, and all that the parent process does with a stranger's model before weights are read."""

import io
import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest.mock import patch

from speed_benchmark.cell import Cell, EngineSettings, Model, Protocol, Workload, canonical_json
from speed_benchmark.errors import UserError
from speed_benchmark.machine import nvml
from speed_benchmark.models import checkpoint, published, rope, source, synthetic
from speed_benchmark.models.config import Config
from speed_benchmark.models.sampling import read_sampling
from speed_benchmark.models.shapes import asked
from speed_benchmark.models.shapes.asked import Answer
from speed_benchmark.report.plan_table import print_plan
from speed_benchmark.run.plan import plan
from speed_benchmark.run.resume import Survey
from speed_benchmark.run.suite import combine
from speed_benchmark.worker.events import Job
from tests import fuzzing
from tests.machine.fake_pynvml import FakeNvml, memory
from tests.shapes import GENERATION, TINY, tiny

WEIGHT_BYTES = 2**30
"""What the weight file of each model claims to hold, so that a config of more is one that lies."""

FRACTIONS = (0.0, -0.0, 0.5, 1.0, 4.0, 64.5, 1e-9, 5e-324, 1e308, -1e308, float("nan"), float("inf"))
WHOLE = (0, 1, -1, 2, 3, 4, 7, 8, 64, 128, 256, 1024, 4096, 65_536, 1_048_576, 4_194_304, 10**8, 2**63, 10**30, 10**400)
STRINGS = ("", "x", "bfloat16", "float32", "qwen2", "default", "yarn", "linear", "\0", "\ud800", "\x1b[2J", "a" * 5000)
DEEP: Any = ["deep"]
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [4], [[]], [None], {"a": 1}, {"factor": 4}, DEEP, "@long@")
VALUES = (*WHOLE, *WHOLE, *FRACTIONS, *STRINGS, *OTHERS)
TEXTS = {'["deep"]': "[" * 3000 + "]" * 3000, '"@long@"': "9" * 5000}
"""JSON texts that no Python value writes."""

ROPES: tuple[Any, ...] = (
    None,
    {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
    {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192},
    {"rope_type": "linear", "factor": 2},
    {"rope_type": "default", "rope_theta": 1e6},
    {"full_attention": {"rope_type": "yarn", "factor": 4.0}, "sliding_attention": {"rope_type": "default"}},
)
REMOTE = {"auto_map": {"AutoModelForCausalLM": "own.Own"}, "model_type": "own", "architectures": ["Own"]}
BASES: tuple[Config, ...] = (
    *(tiny(suffix) for suffix in ("", "-GPTQ-Int4", "-GPTQ-Int8", "-AWQ")),
    *(TINY | {"model_type": kind, "architectures": None} for kind in ("qwen3", "llama", "mistral")),
    {"model_type": "gemma3", "text_config": TINY, "architectures": ["Gemma3ForConditionalGeneration"]},
    TINY | REMOTE,
    TINY | {"max_position_embeddings": 10**8, "vocab_size": 4_000_000},
    next(entry.config for entry in [published.lookup("Qwen2.5-72B-Instruct-GPTQ-Int4")] if entry),
)
EXTRA = (
    *("head_dim", "dtype", "rope_scaling", "rope_parameters", "quantization_config", "auto_map"),
    *("transformers_weights", "text_config", "sliding_window", "layer_types"),
)
CELLS = (
    {"context_length": "1", "generate_length": "1"},
    {"context_length": "30000,100000", "batch_size": "4096"},
    {"context_length": "5", "precision": "1%", "sampling": "greedy"},
    {"context_length": "200", "quick": "true", "generate_length": "30000"},
    {"context_length": "200", "generate_length": "10000000", "repeats": "10000", "processes": "1000"},
    {"context_length": "5", "gpus": "auto", "trust_remote_code": "true"},
    {"context_length": "5", "gpus": "0,1", "weights": "synthetic"},
)


class Changer:
    """Makes changed configs, each with the generation config beside it."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)  # noqa: S311 - no secret

    def change(self) -> tuple[str, str]:
        """The next two, as JSON."""
        config: Config = deepcopy(self._dice.choice(BASES))
        if self._dice.random() < 0.3:
            config[self._dice.choice(("rope_scaling", "rope_parameters"))] = deepcopy(self._dice.choice(ROPES))
        for _ in range(self._dice.choice((0, 1, 1, 1, 2, 4))):
            self._change(config, [*config, *EXTRA])
        generation: Config = dict(GENERATION)
        for _ in range(self._dice.choice((0, 0, 1, 2))):
            self._change(generation, [*generation])
        return _json(config), _json(generation)

    def _change(self, config: Config, keys: Sequence[str]) -> None:
        """Another value of one key, or of one within it; or the key is gone."""
        key = self._dice.choice(keys)
        inner = config.get(key)
        if isinstance(inner, dict) and inner and self._dice.random() < 0.8:
            self._change(inner, [*inner, "factor", "bits"])
        elif key in config and self._dice.random() < 0.1:
            del config[key]
        elif isinstance(inner, int) and self._dice.random() < 0.4:
            config[key] = self._dice.choice((inner + 1, inner * 2, inner // 2, float(inner), str(inner), -inner))
        else:
            config[key] = deepcopy(self._dice.choice(VALUES))


def _json(value: object) -> str:
    text = json.dumps(value)
    for name, written in TEXTS.items():
        text = text.replace(name, written)
    return text


class Tally(fuzzing.Tally):
    """What became of changed configs."""

    def try_one(self, folder: Path) -> None:
        """Do with the model in `folder` all that the parent does."""
        self.counts["changed"] += 1
        try:
            config = checkpoint.read_config(folder, trust_remote_code=True)
        except UserError:
            config = None
        except Exception as error:  # noqa: BLE001 - it is what is looked for
            self._failed("read_config", error, folder)
            return
        self.counts["refused" if config is None else "read"] += 1
        for use in USES:
            with self._noted(use.__name__, folder), _one_line():
                use(folder)
                self.counts[use.__name__] += 1
        for part in PARTS if config else ():
            with self._noted(part.__name__, folder):
                part(config or {})

    @contextmanager
    def _noted(self, name: str, folder: Path) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001
            self._failed(name, error, folder)

    def _failed(self, name: str, error: Exception, folder: Path) -> None:
        self.failed(name, error, (folder / "config.json").read_text()[:1500])


@contextmanager
def _one_line() -> Iterator[None]:
    """Takes a UserError, if it is one line that can be shown."""
    try:
        yield
    except UserError as error:
        if not str(error).isprintable():
            raise ValueError(str(error)) from error


def inspect(folder: Path) -> None:
    """As a local folder, and as what a hub gave."""
    source.inspect(folder, Model(model_id_or_path=str(folder), trust_remote_code=True))
    source.inspect(folder, Model(model_id_or_path="owner/name", allow_pickle=True))


def make_up(folder: Path) -> None:
    """Made-up weights of that config, up to the asking for its shape."""
    config, generation = source.shape(str(folder))
    assert not synthetic.is_cached(config, generation)


def sample(folder: Path) -> None:
    """The sampling is one that a record takes, and that is the same in the worker."""
    assert read_sampling(folder).model_dump_json()


def planned(folder: Path) -> None:
    """Several plans, each printed; all are refused, or none is."""
    refused: list[UserError] = []
    for more in CELLS:
        flags = {"engine": "transformers,vllm", "max_model_len": "32768", "model_id_or_path": str(folder)} | more
        try:
            groups = plan(combine(None, flags))
        except UserError as error:
            refused.append(error)
            continue
        with redirect_stdout(io.StringIO()):
            print_plan(groups, Survey((), {}, None), rounds=1)
    if len(refused) == len(CELLS):
        raise refused[0]


def stretch(config: Config) -> None:
    """The rope settings of requests of all lengths, as they are sent to a worker and stored."""
    reach = rope.longest(config)
    for total in {1, max(1, reach // 4), reach // 4 + 1, reach}:
        job = Job(
            engine="fake",
            checkpoint_dir="",
            config_overrides=rope.config_overrides(config, total),
            cells=tuple(cells()),
            gpus=(),
        )
        assert Job.model_validate_json(job.model_dump_json()) == job
        canonical_json(job.config_overrides).encode()
    with suppress(ValueError):
        rope.config_overrides(config, reach + 1)
        raise AssertionError


def cells() -> Iterator[Cell]:
    """Small and large ones of both engines."""
    for engine in ("transformers", "vllm"):
        for tokens, sequences in ((1, 1), (10_000_000, 4096)):
            yield Cell(
                model=Model(model_id_or_path="owner/name"),
                workload=Workload(context_length=tokens, generate_length=tokens, batch_size=sequences),
                settings=EngineSettings(engine=engine),
                protocol=Protocol(),
            )


USES: tuple[Callable[[Path], None], ...] = (inspect, make_up, sample, planned)
PARTS: tuple[Callable[[Config], None], ...] = (stretch,)


def _nobody(_configs: list[Config]) -> tuple[list[Answer], str]:
    """In place of the child, which takes seconds for each config, and whose limits have a test of their own."""
    return [], "nobody is asked"


def try_all(count: int, seed: int, folder: Path) -> Tally:
    """What becomes of `count` changed configs, each in a folder of its own below `folder`, on two GPUs."""
    changer, tally = Changer(seed), Tally()
    weights = folder / "weights"
    _weights(weights)
    fake = FakeNvml(Count=2, Name="NVIDIA A100-SXM4-80GB", MemoryInfo=memory(0), UUID="GPU-1")
    nvml._ready.cache_clear()
    with (
        patch.object(nvml, "pynvml", fake),
        patch.object(asked, "_ask", _nobody),
        patch.dict("os.environ", {"XDG_CACHE_HOME": str(folder / "cache")}),
    ):
        for number in range(count):
            model = folder / f"{seed}-{number}"
            model.mkdir()
            (model / "model.safetensors").hardlink_to(weights)
            config, generation = changer.change()
            (model / "config.json").write_text(config)
            (model / "generation_config.json").write_text(generation)
            tally.try_one(model)
    nvml._ready.cache_clear()
    return tally


def _weights(file: Path) -> None:
    """A file of WEIGHT_BYTES that takes no room."""
    header = json.dumps({"a": {"dtype": "U8", "shape": [WEIGHT_BYTES], "data_offsets": [0, WEIGHT_BYTES]}}).encode()
    with file.open("wb") as content:
        content.write(len(header).to_bytes(8, "little") + header)
        content.truncate(8 + len(header) + WEIGHT_BYTES)
