import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from speed_benchmark.cell import EngineSettings
from speed_benchmark.engines import registry
from speed_benchmark.engines.protocol import LoadRequest, OutOfMemoryError, Request, Sampling, UnsupportedError
from speed_benchmark.engines.vllm.engine import _translate_errors
from speed_benchmark.engines.vllm.settings import VllmSettings
from speed_benchmark.models import rope
from speed_benchmark.models.shapes.asked import shape
from speed_benchmark.models.synthetic import synthesize
from tests.shapes import tiny

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        find_spec("vllm") is None or torch.cuda.is_available(), reason="asks for vLLM's build for the CPU"
    ),
]

HAS_AVX512 = "avx512f" in Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else False
SUFFIXES = {"BF16": "", "GPTQ-Int4": "-GPTQ-Int4", "GPTQ-Int8": "-GPTQ-Int8", "AWQ": "-AWQ"}
CACHE_BYTES_PER_TOKEN = 2 * 2 * 2 * 32 * 2  # layers, keys and values, heads, head size, bytes
BLOCK_TOKENS = 128
SEQUENCES = 4
PROMPT = (5, 17, 300, 8, 250, 99, 1)
PROMPTS = (PROMPT, (9, 17, 300, 8, 250, 99, 1), (5, 17, 301, 8, 250, 99, 2), (1, 2, 3, 4, 5, 6, 7))
GREEDY = Sampling()
SAMPLED = Sampling(temperature=0.9, top_p=0.8, top_k=20, repetition_penalty=1.1)
MAX_MODEL_LEN = 64

Run = Callable[[str], dict[str, Any]]


def config_of(quantization: str) -> dict[str, Any]:
    """Smaller than the small model, so that its greedy output repeats tokens."""
    changes = {"hidden_size": 128, "intermediate_size": 256, "max_position_embeddings": 64, "vocab_size": 512}
    return tiny(SUFFIXES[quantization], **changes)


def request(count: int, *prompts: tuple[int, ...], sampling: Sampling = GREEDY, seed: int = 0) -> Request:
    return Request(prompts=prompts or (PROMPT,), generate_length=count, sampling=sampling, seed=seed)


def load(
    folder: Path,
    overrides: dict[str, Any] | None = None,
    sequences: int = 1,
    gpu_count: int = 0,
    dtype: Any = "auto",
    **options: Any,
) -> LoadRequest:
    defaults: dict[str, Any] = {"max_model_len": MAX_MODEL_LEN, "enforce_eager": True, "engine_core": "process"}
    return LoadRequest(
        checkpoint_dir=str(folder),
        settings=EngineSettings(engine="vllm", gpu_count=gpu_count, dtype=dtype, options=defaults | options),
        max_total_tokens=MAX_MODEL_LEN,
        max_sequences=sequences,
        config_overrides=overrides or {},
    )


def run(what: LoadRequest, *requests: Request) -> dict[str, Any]:
    """What an engine in a fresh process answers."""
    script = {
        "load": what.model_dump(mode="json"),
        "requests": [request.model_dump(mode="json") for request in requests],
    }
    process = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("run_vllm.py"))],
        input=json.dumps(script),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    answer: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return answer


REQUESTS = {
    "greedy": request(40),
    "one token": request(1),
    "one token in": request(9, (3,)),
    "greedy again": request(40),
    "fills the model's length": request(40, tuple(range(24))),
    "one too many": request(41, tuple(range(24))),
    "sampled": request(12, sampling=SAMPLED, seed=3),
    "sampled again": request(12, sampling=SAMPLED, seed=3),
    "another seed": request(12, sampling=SAMPLED, seed=4),
    "penalised": request(12, sampling=Sampling(repetition_penalty=1.5)),
    "batch": request(12, *PROMPTS),
    "batch again": request(12, *PROMPTS),
    "batch, sampled": request(12, *PROMPTS, sampling=SAMPLED, seed=3),
    "batch that fills the cache": request(40, *(tuple(range(first, first + 24)) for first in range(SEQUENCES))),
    "one sequence too many": request(40, *(tuple(range(first, first + 24)) for first in range(SEQUENCES + 1))),
}
TOO_MUCH = ("one too many", "one sequence too many")


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BF16 checkpoint whose weights are so large that greedy output varies, and whose every token ends a sequence."""
    folder = tmp_path_factory.mktemp("checkpoints") / "BF16"
    torch.manual_seed(0)
    config = AutoConfig.for_model(**config_of("BF16") | {"initializer_range": 0.3, "eos_token_id": 0})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.generation_config = GenerationConfig(eos_token_id=list(range(512)))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def answers(talkative: Path) -> dict[str, Any]:
    """What one engine, compiled and computing in float32, answers to REQUESTS."""
    return run(load(talkative, sequences=SEQUENCES, dtype="float32", enforce_eager=False), *REQUESTS.values())


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Run:
    @cache
    def answered(quantization: str) -> dict[str, Any]:
        folder = synthesize(config_of(quantization), {}, tmp_path_factory.mktemp("made") / quantization)
        # An error that is said in a process of the core's must be heard here too; the others start faster in one.
        core = "process" if quantization == "GPTQ-Int8" else "inproc"
        return run(load(folder, engine_core=core), request(5), request(5))

    return answered


def answer(answers: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = answers["answers"][list(REQUESTS).index(name)]
    return found


def ids_of(answers: dict[str, Any], name: str) -> list[int]:
    """The output of a request with one prompt."""
    (ids,) = answer(answers, name)["ids"]
    return list(ids)


def test_it_is_registered() -> None:
    assert registry.find("vllm") is VllmSettings


@pytest.mark.parametrize("name", [name for name in REQUESTS if name not in TOO_MUCH])
def test_exact_counts_and_a_time_for_each_token_of_each_sequence(answers: dict[str, Any], name: str) -> None:
    got, asked = answer(answers, name), REQUESTS[name]
    assert [len(ids) for ids in got["ids"]] == [asked.generate_length] * len(asked.prompts)
    for sequence in range(len(asked.prompts)):
        times = [moment for moment, heard in got["times"] if heard == sequence]
        assert len(times) == asked.generate_length
        assert all(earlier < later for earlier, later in pairwise([*times, got["end"]]))


def test_a_batch_is_stepped_together_and_its_sequences_are_told_apart(answers: dict[str, Any], talkative: Path) -> None:
    got = answer(answers, "batch")
    assert len({tuple(ids) for ids in got["ids"]}) == len(PROMPTS)
    assert answer(answers, "batch again")["ids"] == got["ids"]
    assert_greedy(talkative, PROMPTS, got["ids"])
    heard = [sequence for _, sequence in got["times"]]
    # A core in a process of its own begins with the first sequence while the others are on their way.
    last = max(heard.index(sequence) for sequence in range(SEQUENCES))
    together = heard[last + 1 :][: SEQUENCES * 8]
    steps = [sorted(together[start : start + SEQUENCES]) for start in range(0, len(together), SEQUENCES)]
    assert steps == [list(range(SEQUENCES))] * 8


def test_tokens_come_one_by_one(answers: dict[str, Any]) -> None:
    times = [moment for moment, _ in answer(answers, "greedy")["times"]]
    gaps = sorted(later - earlier for earlier, later in pairwise(times))
    # Were several handed over at once, most gaps would be the time of a call, a thousandth of a step's.
    assert gaps[len(gaps) // 4] > 20e-6


def test_nothing_comes_from_a_cache(answers: dict[str, Any]) -> None:
    assert answers["loaded"]["prefix_caching"] is False
    assert {got["cached"] for got in answers["answers"] if "cached" in got} == {0}


def test_in_the_process_of_the_caller_it_answers_alike(answers: dict[str, Any], talkative: Path) -> None:
    got = run(load(talkative, dtype="float32", engine_core="inproc"), REQUESTS["greedy"], REQUESTS["penalised"])
    assert got["loaded"]["engine_core"] == "inproc"
    assert [one["ids"] for one in got["answers"]] == [answer(answers, name)["ids"] for name in ("greedy", "penalised")]


def test_end_of_sequence_ends_nothing(answers: dict[str, Any]) -> None:
    assert [len(ids) for ids in answers["ended"]] == [1]
    assert answers["plain"] == answer(answers, "greedy")["ids"]


def assert_greedy(folder: Path, prompts: Sequence[Sequence[int]], outputs: Sequence[Sequence[int]]) -> None:
    """Transformers finds each token of the outputs as likely as the likeliest, up to rounding."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for prompt, ids in zip(prompts, outputs, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
        chosen = logits.gather(1, torch.tensor(ids)[:, None])[:, 0]
        # float32 sums in another order: a few hundred roundings of 6e-8 of the largest logit.
        assert (logits.max(1).values - chosen).max() <= 1e-4 * logits.abs().max()


def test_greedy_is_what_transformers_computes(answers: dict[str, Any], talkative: Path) -> None:
    names = ("one token", "one token in", "greedy", "fills the model's length")
    for name in names:
        assert_greedy(talkative, REQUESTS[name].prompts, answer(answers, name)["ids"])
    assert len(set(ids_of(answers, "greedy"))) > 15
    assert ids_of(answers, "greedy again") == ids_of(answers, "greedy")
    assert ids_of(answers, "one token") == ids_of(answers, "greedy")[:1]


def test_sampling_is_what_was_asked_and_follows_the_seed(answers: dict[str, Any], talkative: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(talkative, dtype=torch.float32)
    model.generation_config = GenerationConfig(max_new_tokens=12, repetition_penalty=1.5)
    expected = model.generate(torch.tensor([PROMPT]))[0, len(PROMPT) :].tolist()
    assert ids_of(answers, "penalised") == expected != ids_of(answers, "greedy")[:12]
    sampled = ids_of(answers, "sampled")
    assert ids_of(answers, "sampled again") == sampled
    assert ids_of(answers, "another seed") != sampled


def test_a_request_past_the_cache_is_too_little_memory(answers: dict[str, Any]) -> None:
    assert answer(answers, "one too many")["error"] == f"65 tokens, and vLLM has room for {MAX_MODEL_LEN}"
    room = SEQUENCES * BLOCK_TOKENS
    said = answer(answers, "one sequence too many")["error"]
    assert said == f"{SEQUENCES + 1} sequences of 64 tokens, and vLLM has room for {room} in all"


def test_reads_back_what_runs(answers: dict[str, Any]) -> None:
    loaded = answers["loaded"]
    stored = shape(config_of("BF16")).weight_bytes()
    assert (loaded["quantization"], loaded["dtype"], loaded["kv_cache_dtype"]) == ("FP32", "float32", "float32")
    assert loaded["weight_bytes"] == 2 * stored
    assert loaded["execution"] == "compiled"
    assert loaded["attention_implementation"] == "CPU_ATTN"
    assert loaded["rope"] == "default"
    assert loaded["max_model_len"] == MAX_MODEL_LEN
    assert loaded["kv_cache_bytes_per_token"] == 2 * CACHE_BYTES_PER_TOKEN
    assert loaded["kv_cache_block_tokens"] == BLOCK_TOKENS
    assert (loaded["engine_core"], loaded["model_runner"], loaded["sampler"]) == ("process", "V1", "pytorch")
    assert loaded["async_scheduling"] is False, "its executor of several processes can't"
    assert (loaded["max_sequences"], loaded["max_batched_tokens"]) == (256, 4096), "vLLM's own limits"
    assert loaded["preallocates"] is True
    assert loaded["kv_cache_spare_blocks"] == 1
    assert loaded["kv_cache_capacity_tokens"] == (SEQUENCES + 1) * BLOCK_TOKENS
    assert loaded["kv_cache_allocated_bytes"] == (SEQUENCES + 1) * BLOCK_TOKENS * 2 * CACHE_BYTES_PER_TOKEN
    assert len(loaded["devices"]) == 1
    assert loaded["finite_logits"] is True
    assert loaded["linear_inputs"] == ["float32"]
    assert answers["workers_left"] == []


@pytest.mark.skipif(
    not HAS_AVX512, reason="vLLM's build for the CPU has kernels of quantised weights for AVX-512 alone"
)
@pytest.mark.parametrize("quantization", ["GPTQ-Int4", "AWQ"])
def test_runs_and_reads_back_quantised_weights(quantised: Run, quantization: str) -> None:
    got = quantised(quantization)
    loaded = got["loaded"]
    stored = shape(config_of(quantization)).weight_bytes()
    assert loaded["quantization"] == quantization
    assert loaded["quantization_kernels"] == ["CPUWNA16LinearKernel"]
    assert (loaded["dtype"], loaded["execution"]) == ("float16", "eager")
    # vLLM drops what it has no use for of GPTQ, zero points and the order of groups; nothing is unpacked.
    assert 0.9 * stored < loaded["weight_bytes"] <= stored
    first, second = got["answers"]
    assert first["ids"] == second["ids"] == got["plain"]
    assert len(first["ids"][0]) == len(first["times"]) == 5
    assert second["cached"] == 0


def test_yarn_reaches_the_rotary_embedding(tmp_path: Path) -> None:
    folder = synthesize(config_of("BF16"), {}, tmp_path / "made")
    overrides = rope.config_overrides(config_of("BF16"), 200)
    prompt = tuple(range(170))
    got = run(load(folder, overrides, max_model_len=200, engine_core="inproc"), request(30, prompt))
    assert (got["loaded"]["rope"], got["loaded"]["quantization"]) == ("yarn factor 4.0", "BF16")
    assert got["loaded"]["weight_bytes"] == shape(config_of("BF16")).weight_bytes()
    assert got["answers"][0]["ids"] == got["plain"]
    assert [len(ids) for ids in got["answers"][0]["ids"]] == [30]


def test_logits_that_are_not_finite_are_seen(talkative: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(talkative, dtype="auto")
    model.model.norm.weight.data[0] = float("inf")
    model.save_pretrained(tmp_path / "overflowing")
    assert run(load(tmp_path / "overflowing", engine_core="inproc"), request(5))["loaded"]["finite_logits"] is False


def test_weights_of_8_bits_are_unsupported_on_the_cpu(quantised: Run) -> None:
    got = quantised("GPTQ-Int8")
    assert got["error"] == "UnsupportedError"
    assert "does not support weight_bits = uint8b128" in got["text"]
    assert "\n" not in got["text"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("CUDA out of memory. Tried to allocate\n2 GiB", OutOfMemoryError),
        ("No available memory for the cache blocks. Try increasing `gpu_memory_utilization`", OutOfMemoryError),
        ("(4.0 GiB KV cache is needed, which is larger than the available KV cache memory (1.0 GiB)", OutOfMemoryError),
        ("Free memory on device is less than desired GPU memory utilization (0.9)", OutOfMemoryError),
        ("Total number of attention heads (14) must be divisible by tensor parallel size (4).", UnsupportedError),
        ("Failed to find a kernel that can implement the WNA16 linear layer. Reasons:\nnone", UnsupportedError),
    ],
)
def test_tells_memory_and_support_from_other_errors(text: str, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught, _translate_errors():
        raise ValueError(text)
    assert str(caught.value) == " ".join(text.split())
    with pytest.raises(ValueError, match="anything else"), _translate_errors():
        raise ValueError("anything else")


def test_a_gpu_that_this_build_is_not_for(talkative: Path) -> None:
    assert run(load(talkative, gpu_count=1)) == {
        "error": "UnsupportedError",
        "text": "this build of vLLM is for the CPU",
    }
