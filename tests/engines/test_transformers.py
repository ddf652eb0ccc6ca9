import json
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoConfig, AutoModelForCausalLM, EosTokenCriteria, GenerationConfig

from speed_benchmark.cell import EngineSettings
from speed_benchmark.engines import registry
from speed_benchmark.engines.held import Held
from speed_benchmark.engines.protocol import LoadRequest, OutOfMemoryError, Request, Sampling, UnsupportedError
from speed_benchmark.engines.transformers import model as transformers_model
from speed_benchmark.engines.transformers.engine import RunningTransformers, TransformersEngine, _memory_errors
from speed_benchmark.engines.transformers.settings import TransformersSettings
from speed_benchmark.models import rope
from speed_benchmark.models.shapes.asked import shape
from speed_benchmark.models.synthetic import synthesize
from tests.shapes import tiny

pytestmark = pytest.mark.engine

SUFFIXES = {"BF16": "", "GPTQ-Int4": "-GPTQ-Int4", "GPTQ-Int8": "-GPTQ-Int8", "AWQ": "-AWQ"}
PROMPT = (5, 17, 300, 8, 250, 99, 1)
PROMPTS = (PROMPT, (9, 17, 300, 8, 250, 99, 1), (5, 17, 301, 8, 250, 99, 2), (1, 2, 3, 4, 5, 6, 7))
SAMPLED = Sampling(temperature=0.9, top_p=0.8, top_k=20, repetition_penalty=1.1)

Checkpoints = Callable[[str], Path]


def config_of(quantization: str) -> dict[str, Any]:
    return tiny(SUFFIXES[quantization], max_position_embeddings=64)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    made: dict[str, Path] = {}

    def make(quantization: str) -> Path:
        if quantization not in made:
            folder = tmp_path_factory.mktemp("checkpoints") / quantization
            if quantization == "BF16":
                made[quantization] = talkative(folder, {})
            else:
                made[quantization] = synthesize(config_of(quantization), {}, folder)
        return made[quantization]

    return make


def talkative(folder: Path, special: dict[str, Any]) -> Path:
    """A BF16 checkpoint whose weights are so large that even greedy output varies with every token before it."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(**config_of("BF16") | special | {"initializer_range": 0.3})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.generation_config = GenerationConfig(do_sample=True, temperature=0.7, top_k=20, **special)
    model.save_pretrained(folder)
    return folder


@contextmanager
def opened(
    folder: Path, overrides: dict[str, Any] | None = None, gpu_count: int = 0, dtype: Any = "auto", **options: Any
) -> Iterator[RunningTransformers]:
    load = LoadRequest(
        checkpoint_dir=str(folder),
        settings=EngineSettings(engine="transformers", gpu_count=gpu_count, dtype=dtype, options=options),
        max_total_tokens=64,
        max_sequences=len(PROMPTS),
        config_overrides=overrides or {},
    )
    with TransformersEngine().open(load) as running:
        yield running


def batch_of(
    running: RunningTransformers,
    count: int,
    prompts: tuple[tuple[int, ...], ...] = PROMPTS,
    sampling: Sampling | None = None,
    seed: int = 0,
    on_token: Callable[[int], None] = lambda _: None,
) -> Sequence[Sequence[int]]:
    running.prepare(Request(prompts=prompts, generate_length=count, sampling=sampling or Sampling(), seed=seed))
    return running.generate(on_token)


def ids_of(running: RunningTransformers, count: int, prompt: tuple[int, ...] = PROMPT, **request: Any) -> Sequence[int]:
    (output,) = batch_of(running, count, (prompt,), **request)
    return output


def bare_batch(
    folder: Path,
    count: int,
    prompts: tuple[tuple[int, ...], ...] = PROMPTS,
    seed: int = 0,
    dtype: str = "auto",
    **choice: Any,
) -> list[list[int]]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    model.generation_config = GenerationConfig(max_new_tokens=count, **choice)
    torch.manual_seed(seed)
    output: list[list[int]] = model.generate(torch.tensor(prompts))[:, len(prompts[0]) :].tolist()
    return output


def bare_ids(folder: Path, count: int, **how: Any) -> list[int]:
    (output,) = bare_batch(folder, count, (PROMPT,), **how)
    return output


def test_it_is_registered() -> None:
    assert registry.find("transformers") is TransformersSettings


@pytest.mark.parametrize("prompt_tokens", [1, 2, 17, 40])
@pytest.mark.parametrize("gpu_count", range(min(2, 1 + torch.cuda.device_count())))
def test_exact_counts_and_a_call_for_each_token_as_it_comes(
    checkpoint: Checkpoints, prompt_tokens: int, gpu_count: int
) -> None:
    """Where transformers defers its stop check, a token would be told only after the next one was begun."""
    forwards, forwards_at_token, times = [0], [], []

    def count(*_: object) -> None:
        forwards[0] += 1

    with opened(checkpoint("BF16"), gpu_count=gpu_count) as running:

        def on_token(sequence: int) -> None:
            assert sequence == 0
            forwards_at_token.append(forwards[0])
            times.append(running.clock.now())

        running._model.register_forward_hook(count)
        output = ids_of(running, 9, prompt=tuple(range(prompt_tokens)), on_token=on_token)
        end = running.clock.now()
        assert running.cached_tokens == 0
    assert len(output) == 9
    assert all(isinstance(token, int) for token in output)
    assert forwards_at_token == list(range(1, 10))
    assert all(earlier < later for earlier, later in pairwise([*times, end]))


def test_a_batch_has_exact_counts_and_tells_the_sequences_apart(checkpoint: Checkpoints) -> None:
    heard: list[tuple[int, int]] = []
    forwards = [0]

    def count(*_: object) -> None:
        forwards[0] += 1

    with opened(checkpoint("BF16"), dtype="float32") as running:
        running._model.register_forward_hook(count)
        outputs = batch_of(running, 12, on_token=lambda sequence: heard.append((forwards[0], sequence)))
        assert running.cached_tokens == 0
    assert outputs == bare_batch(checkpoint("BF16"), 12, dtype="float32")
    assert len({tuple(output) for output in outputs}) == len(PROMPTS)
    assert heard == [(step, sequence) for step in range(1, 13) for sequence in range(len(PROMPTS))]


@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_greedy_is_what_transformers_generates(checkpoint: Checkpoints, dtype: str) -> None:
    expected = bare_ids(checkpoint("BF16"), 12, dtype=dtype)
    assert len(set(expected)) > 6
    with opened(checkpoint("BF16"), dtype=dtype) as running:
        assert ids_of(running, 12) == expected
        assert ids_of(running, 12) == expected


def test_sampling_is_what_was_asked_and_follows_the_seed(checkpoint: Checkpoints) -> None:
    folder = checkpoint("BF16")
    asked: dict[str, Any] = {"do_sample": True, "temperature": 0.9, "top_p": 0.8, "top_k": 20}
    expected = bare_ids(folder, 12, seed=3, repetition_penalty=1.1, **asked)
    with opened(folder) as running:
        assert ids_of(running, 12, sampling=SAMPLED, seed=3) == expected
        assert ids_of(running, 12, sampling=SAMPLED, seed=3) == expected
        assert ids_of(running, 12, sampling=SAMPLED, seed=4) != expected
        assert ids_of(running, 12, sampling=Sampling(temperature=1.0), seed=3) == bare_ids(
            folder, 12, seed=3, do_sample=True, temperature=1.0, top_p=1.0, top_k=0
        )
        penalised = Sampling(repetition_penalty=1.5)
        assert ids_of(running, 12, sampling=penalised) == bare_ids(folder, 12, repetition_penalty=1.5)


def test_end_of_sequence_ends_nothing(checkpoint: Checkpoints, tmp_path: Path) -> None:
    usual = bare_batch(checkpoint("BF16"), 6)
    folder = tmp_path / "ends"
    ending: dict[str, Any] = {"eos_token_id": usual[0][2], "pad_token_id": 0}
    talkative(folder, ending)
    assert bare_ids(folder, 6, **ending) == usual[0][: usual[0].index(usual[0][2]) + 1]
    with opened(folder) as running:
        assert batch_of(running, 6) == usual


class Operations(TorchDispatchMode):  # type: ignore[misc] # torch is not followed
    """Counts what PyTorch is asked to do."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


def operations_of_a_step(generate: Callable[[int], object]) -> Counter[str]:
    """What six more tokens ask of PyTorch, in a request like one before."""
    counts: list[Counter[str]] = []
    for tokens in (8, 8, 14):
        with Operations() as operations:
            generate(tokens)
        counts.append(operations.counts)
    counts[2].subtract(counts[1])
    return +counts[2]


@pytest.mark.parametrize("ends", [{"eos_token_id": [7, 9], "pad_token_id": 3}, {"eos_token_id": 7}, {}])
def test_a_step_is_that_of_users(tmp_path: Path, ends: dict[str, Any]) -> None:
    folder = tmp_path / "ends"
    talkative(folder, ends)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    prompts = torch.tensor(PROMPTS)
    assert plain.generation_config.eos_token_id == ends.get("eos_token_id")

    def users(tokens: int) -> None:
        mask = torch.ones_like(prompts)
        output = plain.generate(prompts, attention_mask=mask, max_new_tokens=tokens, do_sample=False)
        assert output.shape == (len(PROMPTS), len(PROMPT) + tokens)

    usual = operations_of_a_step(users)
    with opened(folder) as running:
        # The tokens are taken to the host one by one, in place of all at the end.
        assert operations_of_a_step(lambda tokens: batch_of(running, tokens)) - usual == Counter()
        assert usual - operations_of_a_step(lambda tokens: batch_of(running, tokens)) == Counter()
    assert usual["aten.any.dim"] == (6 if ends else 0)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_model_that_always_ends_goes_on_to_the_last_token(
    checkpoint: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: bool
) -> None:
    usual = bare_batch(checkpoint("BF16"), 9, dtype="float32")
    ending: dict[str, Any] = {"eos_token_id": list(range(2048)), "pad_token_id": 0}
    talkative(tmp_path / "ends", ending)
    looked: list[list[bool]] = []
    look = EosTokenCriteria.__call__

    def note(self: EosTokenCriteria, *arguments: Any, **named: Any) -> torch.Tensor:
        ended: torch.Tensor = look(self, *arguments, **named)
        looked.append(ended.tolist())
        return ended

    monkeypatch.setattr(EosTokenCriteria, "__call__", note)
    with opened(tmp_path / "ends", dtype="float32", compile=compiled) as running:
        for _ in range(2):
            assert batch_of(running, 9) == usual
            assert looked == [[True] * len(PROMPTS)] * 9
            looked.clear()
        assert ids_of(running, 9) == usual[0]
        assert looked == [[True]] * 9


def test_reads_back_plain_weights(checkpoint: Checkpoints) -> None:
    stored = shape(config_of("BF16")).weight_bytes()
    with opened(checkpoint("BF16")) as running:
        loaded = running.loaded
    assert (loaded.quantization, loaded.dtype, loaded.quantization_kernels) == ("BF16", "bfloat16", ("Linear",))
    assert loaded.weight_bytes == stored
    assert loaded.execution == "eager"
    assert loaded.rope == "default"
    assert loaded.kv_cache_dtype == "bfloat16"
    assert loaded.kv_cache_bytes_per_token == 2 * 2 * 2 * 64 * 2
    assert not loaded.prefix_caching
    assert not loaded.preallocates
    assert not loaded.simulated
    assert loaded.reasons == ()
    assert len(loaded.devices) == 1
    with opened(checkpoint("BF16"), dtype="float32") as running:
        cast = running.loaded
    assert (cast.quantization, cast.dtype, cast.weight_bytes) == ("FP32", "float32", 2 * stored)


@pytest.mark.parametrize(
    ("dtype", "stored_bytes", "declared", "name"),
    [
        (torch.float16, 2, "BF16", "FP16"),
        (torch.float64, 8, "BF16", "float64"),
        (torch.float8_e4m3fn, 1, "BF16", "float8_e4m3fn"),
        (torch.bfloat16, 2, "FP8", "BF16"),
        (torch.float8_e4m3fn, 1, "FP8", "FP8"),
        (torch.int32, 0.5, "GPTQ-Int4", "GPTQ-Int4"),
        (torch.int32, 1, "GPTQ-Int4", "W8A16"),
        (torch.uint8, 0.5, "its-own", "its-own"),
    ],
)
def test_the_format_is_that_of_the_checkpoint_where_so_many_bits_are_held(
    dtype: torch.dtype, stored_bytes: float, declared: str, name: str
) -> None:
    assert Held(dtype=dtype, stored_bytes=int(1024 * stored_bytes), weights=1024).format(declared) == name


@pytest.mark.parametrize("quantization", ["GPTQ-Int4", "GPTQ-Int8", "AWQ"])
def test_runs_and_reads_back_quantised_weights(checkpoint: Checkpoints, quantization: str) -> None:
    with opened(checkpoint(quantization)) as running:
        loaded = running.loaded
        first = ids_of(running, 5)
        assert ids_of(running, 5) == first
    plain = shape(config_of("BF16")).weight_bytes()
    assert loaded.quantization == quantization
    assert loaded.linear_inputs == ("float16",)
    assert loaded.dtype == "float16"
    assert loaded.weight_bytes < plain
    assert len(loaded.quantization_kernels) == 1
    assert "Linear" in loaded.quantization_kernels[0] != "Linear"
    assert loaded.reasons == ()
    assert len(first) == 5


def test_takes_another_kernel_and_says_why(checkpoint: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(transformers_model.KERNELS, "gptq", ("marlin", "torch"))
    with opened(checkpoint("GPTQ-Int4")) as running:
        loaded = running.loaded
    assert (loaded.quantization, loaded.quantization_kernels) == ("GPTQ-Int4", ("TorchLinear",))
    assert loaded.reasons == ("GPTQModel's kernel marlin can't be had: Marlin kernel requires CUDA.",)
    monkeypatch.setitem(transformers_model.KERNELS, "awq", ("marlin",))
    refused = r"^GPTQModel's kernel marlin can't be had: Marlin kernel requires CUDA"
    with pytest.raises(UnsupportedError, match=refused), opened(checkpoint("AWQ")):
        pass


def test_attention_is_the_one_asked_for(checkpoint: Checkpoints) -> None:
    outputs = []
    for attention in ("sdpa", "eager"):
        with opened(checkpoint("BF16"), attn_implementation=attention, dtype="float32") as running:
            assert running.loaded.attention_implementation == attention
            outputs.append(ids_of(running, 8))
    assert outputs[0] == outputs[1]


@pytest.mark.skipif(find_spec("flash_attn") is not None, reason="FlashAttention is installed")
def test_attention_that_is_not_there_is_unsupported(checkpoint: Checkpoints) -> None:
    with (
        pytest.raises(UnsupportedError, match=r"(?i)flash") as caught,
        opened(checkpoint("BF16"), attn_implementation="flash_attention_2"),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_compiles_once_for_each_shape(checkpoint: Checkpoints) -> None:
    expected = bare_batch(checkpoint("BF16"), 12, dtype="float32")
    with opened(checkpoint("BF16"), dtype="float32", compile=True) as running:
        assert running.loaded.execution == "compiled"
        assert ids_of(running, 12) == expected[0]
        captured = dict(counters["stats"])
        assert captured["unique_graphs"] == 1
        assert ids_of(running, 12) == expected[0]
        assert ids_of(running, 12, prompt=(3, *PROMPT[1:])) != expected[0]
        assert ids_of(running, 12) == expected[0]
        assert dict(counters["stats"]) == captured
        assert ids_of(running, 14)[:12] == expected[0]
        assert counters["stats"]["unique_graphs"] == 1
        assert len(ids_of(running, 1)) == 1
        heard: list[int] = []
        assert batch_of(running, 12, on_token=heard.append) == expected
        assert heard == list(range(len(PROMPTS))) * 12
        assert counters["stats"]["unique_graphs"] == 1
        captured = dict(counters["stats"])
        assert batch_of(running, 12) == expected
        assert dict(counters["stats"]) == captured


def test_does_not_pretend_to_compile_quantised_weights(checkpoint: Checkpoints) -> None:
    with pytest.raises(UnsupportedError, match="--compile"), opened(checkpoint("AWQ"), compile=True):
        pass


def test_yarn_reaches_the_rotary_embedding(checkpoint: Checkpoints) -> None:
    def frequencies(running: RunningTransformers) -> torch.Tensor:
        found: torch.Tensor = running._model.model.rotary_emb.inv_freq
        return found

    with opened(checkpoint("BF16")) as running:
        usual = frequencies(running)
    config = json.loads((checkpoint("BF16") / "config.json").read_text())
    with opened(checkpoint("BF16"), overrides=rope.config_overrides(config, 200)) as running:
        assert running.loaded.rope == "yarn factor 4.0"
        # YaRN leaves the fastest rotation as it is and slows the slowest down by the factor.
        assert frequencies(running)[0] == usual[0]
        assert frequencies(running)[-1] == pytest.approx(usual[-1] / 4)
        assert len(ids_of(running, 30, prompt=tuple(range(170)))) == 30


def test_more_gpus_than_there_are(checkpoint: Checkpoints) -> None:
    gpu_count = torch.cuda.device_count() + 1
    with pytest.raises(UnsupportedError, match=f"^{gpu_count} GPUs"), opened(checkpoint("BF16"), gpu_count=gpu_count):
        pass


def test_tells_too_little_memory_from_other_errors() -> None:
    with pytest.raises(OutOfMemoryError) as caught, _memory_errors():
        torch.empty(1 << 50)
    assert "\n" not in str(caught.value)
    with pytest.raises(RuntimeError, match="size"), _memory_errors():
        torch.ones(2) + torch.ones(3)


def test_leaving_gives_the_model_back(checkpoint: Checkpoints) -> None:
    with opened(checkpoint("BF16")) as running:
        ids_of(running, 3)
        model = weakref.ref(running._model)
    assert model() is None


def test_leaving_by_an_error_gives_the_model_back_too(checkpoint: Checkpoints) -> None:
    models = []

    def fail() -> None:
        with opened(checkpoint("BF16")) as running:
            models.append(weakref.ref(running._model))
            raise KeyError("failed")

    with pytest.raises(KeyError, match="failed"):
        fail()
    assert models[0]() is None


def test_logits_that_are_not_finite_are_seen(checkpoint: Checkpoints, tmp_path: Path) -> None:
    with opened(checkpoint("BF16")) as running:
        assert running.loaded.finite_logits is True
    model = AutoModelForCausalLM.from_pretrained(checkpoint("BF16"), dtype="auto")
    model.model.norm.weight.data[0] = float("inf")
    model.save_pretrained(tmp_path / "overflowing")
    with opened(tmp_path / "overflowing") as running:
        assert running.loaded.finite_logits is False
