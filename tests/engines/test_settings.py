"""What engines say of themselves: their options as cells keep them, their room, their overhead, their scripts' rows."""

import subprocess
import sys
from dataclasses import asdict
from typing import Any

import pytest

from speed_benchmark.cell import Cell, EngineSettings, Model, Protocol, Workload, digest, options
from speed_benchmark.engines import priors, registry
from speed_benchmark.engines.settings import Settings
from speed_benchmark.engines.transformers.settings import TransformersSettings
from speed_benchmark.engines.vllm.settings import VllmSettings
from speed_benchmark.machine.device import Device
from speed_benchmark.run import forecast
from speed_benchmark.testing.fake import FakeSettings

GIB = 2**30
CPU = Device(0, 64 * GIB, 1e10)
A100 = Device(1, 80 * GIB, 2e12, "NVIDIA A100-SXM4-80GB", (8, 0))
H200 = Device(1, 140 * GIB, 4.8e12, "NVIDIA H200", (9, 0))
SMALL = Device(1, 24 * GIB, 1e12, "NVIDIA L4", (8, 9))

BEFORE: dict[str, dict[str, Any]] = {
    "transformers": {"attn_implementation": "sdpa", "compile": False},
    "vllm": {"max_model_len": 32768, "gpu_memory_utilization": 0.9, "enforce_eager": False},
}


def cell(engine: str, stored: dict[str, Any], batch_size: int = 1) -> Cell:
    return Cell(
        model=Model(model_id_or_path="Qwen/Qwen2.5-0.5B-Instruct", weights="synthetic"),
        workload=Workload(context_length=6144, batch_size=batch_size),
        settings=EngineSettings(engine=engine, gpu_count=1, options=stored),
        protocol=Protocol(),
    )


def id_before(engine: str, **own: Any) -> str:
    """The id of that cell before engines brought their own options and batches came."""
    return digest(
        {
            "model": {
                "model_id_or_path": "Qwen/Qwen2.5-0.5B-Instruct",
                "weights": "synthetic",
                "use_modelscope": False,
                "trust_remote_code": False,
                "allow_pickle": False,
            },
            "workload": {"context_length": 6144, "generate_length": 2048, "sampling": "model", "seed": 1024},
            "settings": {"engine": engine, "gpu_count": 1, "dtype": "auto", **own},
            "protocol": {"repeats": 3, "warmups": 1, "processes": 1, "quick": False, "audit": False},
        }
    )


@pytest.mark.parametrize(
    "settings", [TransformersSettings(), VllmSettings(engine_core="inproc")], ids=["transformers", "vllm"]
)
def test_what_older_cells_ran_keeps_their_ids(settings: Settings) -> None:
    engine = "vllm" if isinstance(settings, VllmSettings) else "transformers"
    stored = settings.stored()
    assert stored == BEFORE[engine]
    assert cell(engine, stored).cell_id == id_before(engine, **BEFORE[engine])
    assert registry.settings_of(EngineSettings(engine=engine, options=stored)) == settings


def test_vllm_as_its_users_run_it_is_another_cell() -> None:
    assert VllmSettings().stored() == BEFORE["vllm"] | {"engine_core": "process"}


def test_the_id_of_a_cell_measured_long_ago() -> None:
    made = cell("vllm", VllmSettings(engine_core="inproc").stored()).cell_id
    assert made == "sha256:70916bbf0070238fdbbc0f269640ab7af31677f60107ed1fdd2b286708635634"


def test_other_options_and_batches_are_other_cells() -> None:
    eager = TransformersSettings(attn_implementation="eager").stored()
    assert cell("transformers", eager).cell_id == id_before("transformers", attn_implementation="eager", compile=False)
    usual = TransformersSettings().stored()
    assert len({cell("transformers", usual, batch_size).cell_id for batch_size in (1, 2, 4)}) == 3


def test_a_type_of_the_cache_is_part_of_the_cell_unless_it_is_the_usual_one() -> None:
    assert VllmSettings(kv_cache_dtype="fp8").stored()["kv_cache_dtype"] == "fp8"
    assert "kv_cache_dtype" not in VllmSettings().stored()
    older = registry.settings_of(EngineSettings(engine="vllm", options={"max_model_len": 64}))
    assert isinstance(older, VllmSettings)
    assert older.kv_cache_dtype == "auto"


def test_options_of_no_engine_are_refused() -> None:
    with pytest.raises(TypeError, match="max_model_len"):
        registry.settings_of(EngineSettings(engine="transformers", options={"max_model_len": 1}))


def test_helps_are_as_before() -> None:
    helps = {name: note.help for name, (_, note, _) in options(TransformersSettings, VllmSettings).items()}
    assert helps == {
        "attn_implementation": "attention of transformers",
        "compile": "static cache and compiled decoding",
        "max_model_len": "longest prompt plus output",
        "gpu_memory_utilization": "share of the GPU's memory that vLLM takes",
        "engine_core": "vLLM's loop in a process of its own, as its users have it, or in the caller's",
        "enforce_eager": "no CUDA graphs, no compilation",
        "kv_cache_dtype": "type of the key-value cache; auto: that of the activations",
    }


@pytest.mark.parametrize("module", ["transformers", "vllm"])
def test_settings_import_nothing_heavy(module: str) -> None:
    code = (
        f"import speed_benchmark.engines.{module}.settings, sys; "
        "print([name for name in ('pydantic', 'numpy', 'torch', 'transformers', 'vllm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_fake_engine_is_simulated_and_offered_to_nobody() -> None:
    assert registry.names() == ("transformers", "vllm")
    assert registry.find("fake") is FakeSettings
    assert FakeSettings.traits.simulated
    assert FakeSettings.traits.title == "Fake (simulated)"
    assert not options(FakeSettings)
    assert not any(registry.settings_class(name).traits.simulated for name in registry.names())


@pytest.mark.parametrize(
    ("settings", "total", "sequences", "kept"),
    [
        (TransformersSettings(), 100, 1, 100),
        (TransformersSettings(), 100, 8, 800),
        (VllmSettings(), 100, 1, 32768),
        (VllmSettings(), 8192, 4, 32768),
        (VllmSettings(), 8192, 8, 65536),
        (VllmSettings(max_model_len=200), 100, 1, 200),
    ],
)
def test_room_for_tokens(settings: Settings, total: int, sequences: int, kept: int) -> None:
    assert settings.kept_tokens(total, sequences) == kept


@pytest.mark.parametrize(
    ("settings", "context", "device", "tokens"),
    [
        (TransformersSettings(), 60000, H200, 60000),
        (VllmSettings(), 1, H200, 16384),
        (VllmSettings(), 60000, H200, 16384),
        (VllmSettings(), 1, A100, 8192),
        (VllmSettings(), 1, SMALL, 8192),
        (VllmSettings(), 1, CPU, 8192),
        (VllmSettings(max_model_len=1000), 1, H200, 16384),
    ],
)
def test_prompt_tokens_at_once(settings: Settings, context: int, device: Device, tokens: int) -> None:
    assert settings.prefill_tokens(context, device) == tokens


@pytest.mark.parametrize(
    ("settings", "device", "quantized", "fields"),
    [
        (TransformersSettings(), CPU, False, {"layer_s"}),
        (TransformersSettings(), A100, True, {"layer_s", "launches_ahead"}),
        (TransformersSettings(), H200, False, {"layer_s", "launches_ahead", "first_token_s"}),
        (TransformersSettings(attn_implementation="eager"), H200, False, {"layer_s", "launches_ahead", "score_bytes"}),
        (TransformersSettings(compile=True), CPU, False, {"layer_s"}),
        (TransformersSettings(compile=True), H200, False, {"step_s", "prefill_s", "first_request_s"}),
        (VllmSettings(), H200, False, {"step_s", "prefill_s", "launches_ahead"}),
        (VllmSettings(enforce_eager=True), H200, False, {"layer_s", "step_s", "prefill_s", "launches_ahead"}),
        (VllmSettings(), CPU, True, {"step_s", "prefill_s"}),
    ],
)
def test_what_takes_time_beside_the_roofline(
    settings: Settings, device: Device, *, quantized: bool, fields: set[str]
) -> None:
    """Which constants an engine has there; of all it has a start, kernels and shares of the peaks."""
    found = settings.overhead(device, quantized=quantized)
    always = {"start_s", "kernel_s", "bandwidth_share", "matrix_share"}
    assert {name for name, value in asdict(found).items() if value} == fields | always


@pytest.mark.parametrize(
    ("settings", "device", "quantized", "kinds"),
    [
        (TransformersSettings(), H200, False, ("eager",)),
        (TransformersSettings(compile=True), H200, True, ("compiled-quantized", "compiled")),
        (TransformersSettings(attn_implementation="eager"), H200, False, ("eager-eager-attention", "eager")),
        (TransformersSettings(), CPU, True, ("cpu-eager-quantized", "cpu-eager")),
        (VllmSettings(), H200, False, ("graphs", "graphs-inproc")),
        (VllmSettings(engine_core="inproc"), H200, True, ("graphs-quantized-inproc", "graphs-quantized")),
        (VllmSettings(enforce_eager=True), CPU, False, ("cpu-eager", "cpu-eager-inproc")),
        (FakeSettings(), CPU, False, ()),
    ],
)
def test_kinds_of_running(settings: Settings, device: Device, *, quantized: bool, kinds: tuple[str, ...]) -> None:
    assert settings.kinds(device, quantized=quantized) == kinds


@pytest.mark.parametrize("engine", [TransformersSettings, VllmSettings])
def test_shipped_priors_are_of_constants_that_the_engine_has(engine: type[Settings]) -> None:
    known = priors.of(engine)
    assert known
    for kind, constants in known.items():
        assert constants.keys() <= set(forecast.FIELDS), kind
        assert all(one.value > 0 and one.spread > 0 for one in constants.values()), kind
