import json
import weakref
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from speed_benchmark.cell import EngineSettings
from speed_benchmark.engines import registry
from speed_benchmark.engines.protocol import Load, OutOfMemoryError, Request, Sampling, UnsupportedError
from speed_benchmark.engines.transformers import model as transformers_model
from speed_benchmark.engines.transformers.engine import TransformersEngine, _memory_errors
from speed_benchmark.models import catalogue, rope
from speed_benchmark.models.checkpoint import tensors
from speed_benchmark.models.synthetic import synthesize

SUFFIXES = {"BF16": "", "GPTQ-Int4": "-GPTQ-Int4", "GPTQ-Int8": "-GPTQ-Int8", "AWQ": "-AWQ"}
SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_window_layers": 2,
    "max_position_embeddings": 64,
    "vocab_size": 512,
}
PROMPT = (5, 17, 300, 8, 250, 99, 1)
SAMPLED = Sampling(temperature=0.9, top_p=0.8, top_k=20, repetition_penalty=1.1)

Checkpoints = Callable[[str], Path]
LoadEngine = Callable[..., TransformersEngine]


def config_of(quantization: str) -> dict[str, Any]:
    entry = catalogue.lookup("Qwen2.5-0.5B-Instruct" + SUFFIXES[quantization])
    assert entry is not None
    return entry.config | SHAPE


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


@pytest.fixture
def engine() -> Iterator[TransformersEngine]:
    engine = TransformersEngine()
    yield engine
    engine.close()


def load(folder: Path, overrides: dict[str, Any] | None = None, **settings: Any) -> Load:
    defaults: dict[str, Any] = {"engine": "transformers", "attn_implementation": "sdpa", "compile": False}
    return Load(
        checkpoint_dir=str(folder),
        settings=EngineSettings(**defaults | settings),
        max_total_tokens=64,
        config_overrides=overrides or {},
    )


def ids_of(
    engine: TransformersEngine,
    count: int,
    prompt: tuple[int, ...] = PROMPT,
    sampling: Sampling | None = None,
    seed: int = 0,
    on_token: Callable[[], None] = lambda: None,
) -> Sequence[int]:
    engine.prepare(Request(prompt_token_ids=prompt, generate_length=count, sampling=sampling or Sampling(), seed=seed))
    return engine.generate(on_token)


def bare_ids(folder: Path, count: int, seed: int = 0, dtype: str = "auto", **choice: Any) -> list[int]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    model.generation_config = GenerationConfig(max_new_tokens=count, **choice)
    torch.manual_seed(seed)
    output: list[int] = model.generate(torch.tensor([PROMPT]))[0, len(PROMPT) :].tolist()
    return output


def test_it_is_registered() -> None:
    assert registry.find("transformers") is TransformersEngine


@pytest.mark.parametrize("prompt_tokens", [1, 2, 17, 40])
def test_exact_counts_and_a_call_for_each_token_as_it_comes(
    engine: TransformersEngine, checkpoint: Checkpoints, prompt_tokens: int
) -> None:
    engine.load(load(checkpoint("BF16")))
    assert engine._model is not None
    forwards, forwards_at_token, times = [0], [], []

    def count(*_: object) -> None:
        forwards[0] += 1

    def on_token() -> None:
        forwards_at_token.append(forwards[0])
        times.append(engine.clock.now())

    engine._model.register_forward_hook(count)
    output = ids_of(engine, 9, prompt=tuple(range(prompt_tokens)), on_token=on_token)
    end = engine.clock.now()
    assert len(output) == 9
    assert all(isinstance(token, int) for token in output)
    assert forwards_at_token == list(range(1, 10))
    assert all(earlier < later for earlier, later in pairwise([*times, end]))
    assert engine.cached_tokens == 0


@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_greedy_is_what_transformers_generates(engine: TransformersEngine, checkpoint: Checkpoints, dtype: str) -> None:
    engine.load(load(checkpoint("BF16"), dtype=dtype))
    expected = bare_ids(checkpoint("BF16"), 12, dtype=dtype)
    assert len(set(expected)) > 6
    assert ids_of(engine, 12) == expected
    assert ids_of(engine, 12) == expected


def test_sampling_is_what_was_asked_and_follows_the_seed(engine: TransformersEngine, checkpoint: Checkpoints) -> None:
    folder = checkpoint("BF16")
    engine.load(load(folder))
    expected = bare_ids(
        folder, 12, seed=3, do_sample=True, temperature=0.9, top_p=0.8, top_k=20, repetition_penalty=1.1
    )
    assert ids_of(engine, 12, sampling=SAMPLED, seed=3) == expected
    assert ids_of(engine, 12, sampling=SAMPLED, seed=3) == expected
    assert ids_of(engine, 12, sampling=SAMPLED, seed=4) != expected
    open_sampling = Sampling(temperature=1.0)
    assert ids_of(engine, 12, sampling=open_sampling, seed=3) == bare_ids(
        folder, 12, seed=3, do_sample=True, temperature=1.0, top_p=1.0, top_k=0
    )
    penalised = Sampling(repetition_penalty=1.5)
    assert ids_of(engine, 12, sampling=penalised) == bare_ids(folder, 12, repetition_penalty=1.5)


def test_end_of_sequence_ends_nothing(engine: TransformersEngine, checkpoint: Checkpoints, tmp_path: Path) -> None:
    usual = bare_ids(checkpoint("BF16"), 6)
    folder = tmp_path / "ends"
    ending: dict[str, Any] = {"eos_token_id": usual[2], "pad_token_id": 0}
    talkative(folder, ending)
    assert bare_ids(folder, 6, **ending) == usual[: usual.index(usual[2]) + 1]
    engine.load(load(folder))
    assert ids_of(engine, 6) == usual


def test_reads_back_plain_weights(engine: TransformersEngine, checkpoint: Checkpoints) -> None:
    loaded = engine.load(load(checkpoint("BF16")))
    stored = sum(tensor.size_bytes for tensor in tensors(config_of("BF16")))
    assert (loaded.quantization, loaded.dtype, loaded.quantization_kernels) == ("BF16", "bfloat16", ("Linear",))
    assert loaded.weight_bytes == stored
    assert loaded.execution == "eager"
    assert loaded.rope == "default"
    assert loaded.kv_cache_dtype == "bfloat16"
    assert loaded.kv_cache_bytes_per_token == 2 * 2 * 2 * 32 * 2
    assert not loaded.prefix_caching
    assert loaded.reasons == ()
    assert len(loaded.devices) == 1
    cast = engine.load(load(checkpoint("BF16"), dtype="float32"))
    assert (cast.quantization, cast.dtype, cast.weight_bytes) == ("FP32", "float32", 2 * stored)


@pytest.mark.parametrize("quantization", ["GPTQ-Int4", "GPTQ-Int8", "AWQ"])
def test_runs_and_reads_back_quantised_weights(
    engine: TransformersEngine, checkpoint: Checkpoints, quantization: str
) -> None:
    loaded = engine.load(load(checkpoint(quantization)))
    plain = sum(tensor.size_bytes for tensor in tensors(config_of("BF16")))
    assert loaded.quantization == quantization
    assert loaded.dtype == "float16"
    assert loaded.weight_bytes < plain
    assert len(loaded.quantization_kernels) == 1
    assert "Linear" in loaded.quantization_kernels[0] != "Linear"
    assert loaded.reasons == ()
    first = ids_of(engine, 5)
    assert len(first) == 5
    assert ids_of(engine, 5) == first


def test_takes_another_kernel_and_says_why(
    engine: TransformersEngine, checkpoint: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(transformers_model.KERNELS, "gptq", ("marlin", "torch"))
    loaded = engine.load(load(checkpoint("GPTQ-Int4")))
    assert (loaded.quantization, loaded.quantization_kernels) == ("GPTQ-Int4", ("TorchLinear",))
    assert loaded.reasons == ("GPTQModel's kernel marlin can't be had: Marlin kernel requires CUDA.",)
    monkeypatch.setitem(transformers_model.KERNELS, "awq", ("marlin",))
    with pytest.raises(UnsupportedError, match=r"^GPTQModel's kernel marlin can't be had: Marlin kernel requires CUDA"):
        TransformersEngine().load(load(checkpoint("AWQ")))


def test_attention_is_the_one_asked_for(engine: TransformersEngine, checkpoint: Checkpoints) -> None:
    outputs = []
    for attention in ("sdpa", "eager"):
        loaded = engine.load(load(checkpoint("BF16"), attn_implementation=attention, dtype="float32"))
        assert loaded.attention_implementation == attention
        outputs.append(ids_of(engine, 8))
    assert outputs[0] == outputs[1]


@pytest.mark.skipif(find_spec("flash_attn") is not None, reason="FlashAttention is installed")
def test_attention_that_is_not_there_is_unsupported(engine: TransformersEngine, checkpoint: Checkpoints) -> None:
    with pytest.raises(UnsupportedError, match=r"(?i)flash") as caught:
        engine.load(load(checkpoint("BF16"), attn_implementation="flash_attention_2"))
    assert "\n" not in str(caught.value)


def test_compiles_once_for_each_size(engine: TransformersEngine, checkpoint: Checkpoints) -> None:
    loaded = engine.load(load(checkpoint("BF16"), dtype="float32", compile=True))
    assert loaded.execution == "compiled"
    expected = bare_ids(checkpoint("BF16"), 12, dtype="float32")
    assert ids_of(engine, 12) == expected
    captured = dict(counters["stats"])
    assert captured["unique_graphs"] == 1
    assert ids_of(engine, 12) == expected
    assert ids_of(engine, 12, prompt=(3, *PROMPT[1:])) != expected
    assert ids_of(engine, 12) == expected
    assert dict(counters["stats"]) == captured
    assert ids_of(engine, 14)[:12] == expected
    assert counters["stats"]["unique_graphs"] == 1
    assert len(ids_of(engine, 1)) == 1


def test_does_not_pretend_to_compile_quantised_weights(engine: TransformersEngine, checkpoint: Checkpoints) -> None:
    with pytest.raises(UnsupportedError, match="--compile"):
        engine.load(load(checkpoint("AWQ"), compile=True))


def test_yarn_reaches_the_rotary_embedding(engine: TransformersEngine, checkpoint: Checkpoints) -> None:
    def frequencies() -> torch.Tensor:
        assert engine._model is not None
        found: torch.Tensor = engine._model.model.rotary_emb.inv_freq
        return found

    engine.load(load(checkpoint("BF16")))
    usual = frequencies()
    config = json.loads((checkpoint("BF16") / "config.json").read_text())
    loaded = engine.load(load(checkpoint("BF16"), overrides=rope.config_overrides(config, 200)))
    assert loaded.rope == "yarn factor 4.0"
    # YaRN leaves the fastest rotation as it is and slows the slowest down by the factor.
    assert frequencies()[0] == usual[0]
    assert frequencies()[-1] == pytest.approx(usual[-1] / 4)
    assert len(ids_of(engine, 30, prompt=tuple(range(170)))) == 30


def test_more_gpus_than_there_are(engine: TransformersEngine, checkpoint: Checkpoints) -> None:
    gpu_count = torch.cuda.device_count() + 1
    with pytest.raises(UnsupportedError, match=f"^{gpu_count} GPUs"):
        engine.load(load(checkpoint("BF16"), gpu_count=gpu_count))


def test_tells_too_little_memory_from_other_errors() -> None:
    with pytest.raises(OutOfMemoryError) as caught, _memory_errors():
        torch.empty(1 << 50)
    assert "\n" not in str(caught.value)
    with pytest.raises(RuntimeError, match="size"), _memory_errors():
        torch.ones(2) + torch.ones(3)


def test_close_gives_the_model_back(checkpoint: Checkpoints) -> None:
    engine = TransformersEngine()
    engine.load(load(checkpoint("BF16")))
    ids_of(engine, 3)
    model = weakref.ref(engine._model)
    engine.close()
    assert model() is None


def test_logits_that_are_not_finite_are_seen(
    engine: TransformersEngine, checkpoint: Checkpoints, tmp_path: Path
) -> None:
    assert engine.load(load(checkpoint("BF16"))).finite_logits is True
    model = AutoModelForCausalLM.from_pretrained(checkpoint("BF16"), dtype="auto")
    model.model.norm.weight.data[0] = float("inf")
    model.save_pretrained(tmp_path / "overflowing")
    assert engine.load(load(tmp_path / "overflowing")).finite_logits is False
