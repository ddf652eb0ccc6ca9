"""What is planned: loads, settings of engines, GPUs by all their names, and folders by their place."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from speed_benchmark import flags
from speed_benchmark.cell import Model, Protocol
from speed_benchmark.engines import registry
from speed_benchmark.errors import UserError
from speed_benchmark.machine import nvml
from speed_benchmark.run import known
from speed_benchmark.run.options import engine_options
from speed_benchmark.run.plan import LoadGroup, for_engine, parse_gpus, plan
from speed_benchmark.run.suite import combine, find
from tests.machine.fake_pynvml import FakeNvml, memory
from tests.shapes import TINY

Command = Callable[..., subprocess.CompletedProcess[str]]

QWEN = "Qwen/Qwen2.5-0.5B-Instruct"
FIRST, SECOND = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-8932f937-aaaa-4106-c12f-20bd9faed9f6"
PART = "MIG-5a8b3c1e-1111-5222-8333-444455556666"


def planned(**flags: Any) -> list[LoadGroup]:
    return plan(combine(None, {"model_id_or_path": QWEN, "engine": "transformers", "context_length": "5"} | flags))


def protocol(**given: str) -> Protocol:
    ((cell,),) = (group.cells for group in planned(**given))
    return cell.protocol


def test_how_often_a_cell_is_repeated() -> None:
    """Where nothing is said, until the speed is known; a number is that number, a precision what it always was."""
    assert protocol() == Protocol(precision=0.02, repeats=3, max_repeats=6, max_seconds=60.0)
    assert protocol(processes="2") == Protocol(processes=2, precision=0.02, repeats=3, max_repeats=6, max_seconds=60.0)
    assert protocol(repeats="3") == Protocol()
    assert protocol(repeats="4") == Protocol(repeats=4)
    assert protocol(precision="1%") == Protocol(precision=0.01, repeats=6, max_repeats=30, max_seconds=600.0)
    asked = protocol(precision="2%", repeats="3", max_repeats="6", max_seconds="60")
    assert asked == Protocol(precision=0.02, repeats=6, max_repeats=6, max_seconds=60.0)
    assert protocol(quick="true", generate_length="2048") == Protocol(quick=True, repeats=6)
    assert [one.is_default for one in (protocol(), protocol(repeats="3"), asked)] == [True, False, False]


@pytest.mark.parametrize("option", ["max_repeats", "max_seconds"])
def test_a_budget_is_one_of_a_precision(option: str) -> None:
    with pytest.raises(UserError, match=rf"^--{option} 9: is a budget of --precision"):
        planned(**{option: "9"})


def test_the_suites_of_the_report_repeat_as_it_did() -> None:
    for name in ("qwen2.5", "qwen2.5-short", "qwen3"):
        repeats = {point["repeats"] for point in combine(find(f"{name}.toml"), {}).points()}
        assert repeats == {"3"}


@pytest.mark.parametrize(
    ("given", "repeats"), [({}, "3"), ({"repeats": "5"}, "5"), ({"precision": "1%"}, None), ({"quick": True}, None)]
)
def test_the_reports_scripts_repeat_as_it_did(given: dict[str, Any], repeats: str | None) -> None:
    asked: dict[str, Any] = {}

    def do(**all_flags: Any) -> int:
        asked.update(all_flags)
        return 0

    flags.command(do, "transformers")(**given)
    assert asked.get("repeats") == repeats


def lengths(groups: Sequence[LoadGroup]) -> list[list[int]]:
    return [[cell.workload.context_length for cell in group.cells] for group in groups]


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two GPUs of 80 GiB, the second one with a part that has a name of its own."""
    handles = {FIRST: "gpu 0", SECOND: "gpu 1", PART: "part of gpu 1"}

    def by_uuid(uuid: str) -> str:
        if uuid not in handles:
            raise FakeNvml.NVMLError
        return handles[uuid]

    fake = FakeNvml(
        Count=2,
        HandleByUUID=by_uuid,
        DeviceHandleFromMigDeviceHandle=lambda handle: handle.removeprefix("part of "),
        Index=lambda handle: int(handle[-1]),
        UUID=lambda handle: (FIRST, SECOND)[int(handle[-1])],
        MemoryInfo=memory(0),
        Name="NVIDIA A100-SXM4-80GB",
    )
    monkeypatch.setattr(nvml, "pynvml", fake)
    nvml._ready.cache_clear()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield
    nvml._ready.cache_clear()


def test_cells_of_one_load_share_it() -> None:
    groups = planned(context_length="9,1", seed="1,2", repeats="3,4", dtype="bfloat16,float16")
    assert lengths(groups) == [[1] * 4 + [9] * 4] * 2
    assert [group.cells[0].settings.dtype for group in groups] == ["bfloat16", "float16"]


def test_each_batch_size_is_a_load_of_its_own() -> None:
    groups = planned(batch_size="1,4,16", context_length="1,9")
    assert lengths(groups) == [[1, 9]] * 3
    assert [{cell.workload.batch_size for cell in group.cells} for group in groups] == [{1}, {4}, {16}]


@pytest.mark.parametrize("size", ["0", "4097", "many", "1.5"])
def test_a_batch_size_that_makes_no_sense(size: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"--batch_size {size}: ")):
        planned(batch_size=size)


def test_settings_are_the_engines_own() -> None:
    settings = for_engine("vllm", {"max_model_len": "4096", "dtype": "float16", "context_length": "5"}, gpu_count=2)
    assert (settings.engine, settings.gpu_count, settings.dtype) == ("vllm", 2, "float16")
    assert settings.options == {
        "max_model_len": 4096,
        "gpu_memory_utilization": 0.9,
        "enforce_eager": False,
        "engine_core": "process",
    }


@pytest.mark.parametrize(
    ("engine", "given", "said"),
    [
        ("transformers", {"max_model_len": "5"}, "--max_model_len 5: applies to vllm only"),
        ("fake", {"compile": True}, "--compile True: applies to transformers only"),
        ("vllm", {"max_model_len": "0"}, "--max_model_len 0: it should be greater than or equal to 1"),
        ("vllm", {"gpu_memory_utilization": "2"}, "--gpu_memory_utilization 2: it should be less than or equal to 1"),
        ("transformers", {"attn_implementation": "x"}, "--attn_implementation x: it should be 'sdpa'"),
        ("nobody", {}, "--engine nobody: unknown; choose one of transformers, vllm"),
    ],
)
def test_settings_that_are_refused(engine: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        for_engine(engine, given)


def test_exclusions_see_an_engines_own_options() -> None:
    groups = planned(compile="true,false", exclude=["compile=true"])
    assert [cell.settings.options["compile"] for group in groups for cell in group.cells] == [False]


def test_the_longest_sequence_is_that_of_the_engines_option() -> None:
    with pytest.raises(UserError, match=r"--max_model_len 100: 90 input .* raise it to 110"):
        planned(engine="vllm", max_model_len="100", context_length="90", generate_length="20")


@pytest.mark.usefixtures("two_gpus")
def test_heads_are_divided_over_the_gpus_of_an_engine_that_splits_layers(tmp_path: Path) -> None:
    (group,) = planned(engine="vllm", gpus="0,1")
    assert group.cells[0].settings.gpu_count == 2, "14 heads"
    folder = model_folder(tmp_path / "odd", num_attention_heads=1, num_key_value_heads=1, hidden_size=64)
    with pytest.raises(UserError, match="1 attention heads can't be split over 2 GPUs"):
        planned(engine="vllm", gpus="0,1", model_id_or_path=str(folder), weights="synthetic")
    assert planned(gpus="0,1", model_id_or_path=str(folder), weights="synthetic"), "transformers deals out layers"


def model_folder(folder: Path, **config: object) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(TINY | config))
    return folder


@pytest.mark.attack("1.2")
def test_a_folder_is_the_same_one_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`./model` of one directory must not answer for `./model` of another."""
    names = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        model_folder(tmp_path / place / "model")
        monkeypatch.chdir(tmp_path / place)
        for name in ("./model", "model", f"../{place}/model", str(tmp_path / place / "model")):
            (group,) = planned(model_id_or_path=name, weights="synthetic")
            names.append(group.cells[0].model.model_id_or_path)
    assert names == [str(tmp_path / "here" / "model")] * 4 + [str(tmp_path / "there" / "model")] * 4


def test_a_folder_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    model_folder(tmp_path / "model")
    (group,) = planned(model_id_or_path="~/model", weights="synthetic", exclude=["model_id_or_path=./*"])
    assert group.cells[0].model.model_id_or_path == str(tmp_path / "model")
    with pytest.raises(UserError, match="no such folder"):
        planned(model_id_or_path="~nobody-of-this-name/model")


@pytest.mark.usefixtures("two_gpus")
def test_gpus_auto_takes_as_few_as_fit() -> None:
    (small,) = planned(gpus="auto")
    (large,) = planned(gpus="auto", model_id_or_path="Qwen/Qwen2.5-72B-Instruct")
    assert (small.gpus, small.movable) == ((0,), True)
    assert (large.gpus, large.cells[0].settings.gpu_count) == ((0, 1), 2)


@pytest.mark.usefixtures("two_gpus")
def test_gpus_auto_needs_a_known_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speed_benchmark.models.shapes.asked._ask", lambda _configs: ([], "nobody is asked"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = model_folder(tmp_path / "llama", model_type="llama", vocab_size=77)
    header = json.dumps({"x": {"dtype": "BF16", "shape": [2_000_000], "data_offsets": [0, 4_000_000]}}).encode()
    weights = len(header).to_bytes(8, "little") + header + bytes(4_000_000)
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(UserError, match=r"--gpus auto: the shape of .*llama is not known; name the GPUs"):
        planned(gpus="auto", model_id_or_path=str(folder))
    assert planned(gpus="1", model_id_or_path=str(folder))[0].gpus == (1,)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("visible", "gpus"),
    [
        (FIRST, (0,)),
        (f"{SECOND},{FIRST}", (1, 0)),
        ("GPU-8932f937-a", (1,)),
        (PART, (1,)),
        ("1,GPU-8932f937-d", (1, 0)),
        ("1", (1,)),
        ("", ()),
        ("-1", ()),
        (None, (0, 1)),
    ],
)
def test_visible_gpus_by_any_name(monkeypatch: pytest.MonkeyPatch, visible: str | None, gpus: tuple[int, ...]) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert parse_gpus(None) == gpus
    assert parse_gpus("0") == (0,)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("visible", "said"),
    [
        ("GPU-00000000", "GPU-00000000 is no GPU of this machine: the GPUs here are 0 to 1"),
        ("GPU-8932f937", "GPU-8932f937 is no GPU of this machine"),  # of both
        ("MIG-00000000-1111", "MIG-00000000-1111 is no GPU of this machine"),
        (f"{FIRST},0", "names a GPU twice"),
        ("2", "the GPUs here are 0 to 1"),
        ("GPU-", "name GPUs by their numbers"),
        ("gpu0", "name GPUs by their numbers"),
    ],
)
def test_a_name_of_no_gpu_is_refused_only_where_it_is_needed(
    monkeypatch: pytest.MonkeyPatch, visible: str, said: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(UserError, match=re.escape(f"CUDA_VISIBLE_DEVICES {visible}: ")) as refused:
        parse_gpus(None)
    assert said in str(refused.value)
    assert parse_gpus("1") == (1,), "--gpus names physical GPUs, whatever is visible"


@pytest.mark.usefixtures("two_gpus")
def test_gpus_of_the_flag_by_their_uuids() -> None:
    assert parse_gpus(f"{SECOND},0") == (1, 0)
    with pytest.raises(UserError, match="in CUDA_VISIBLE_DEVICES"):
        parse_gpus(PART)


def test_help_has_every_option_of_every_engine_once(command: Command) -> None:
    text = command("run", "--help").stdout
    assert set(engine_options()) >= {"compile", "max_model_len"}
    for name, option in engine_options().items():
        flag = re.findall(rf"^  --{name}\b", text, re.MULTILINE)
        assert len(flag) == 1, name
        assert f"({', '.join(option.engines)} only)" in " ".join(text.split())
    for name in registry.names():
        assert name in re.search(r"--engine (\S+)", text)[1].split("|")  # type: ignore[index]
    assert "fake" not in text


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["report", "--help"]])
def test_help_needs_nothing_heavy(arguments: list[str]) -> None:
    heavy = "{'pydantic', 'numpy', 'scipy', 'torch', 'rich', 'psutil'}"
    program = f"""if True:
        import sys
        from speed_benchmark.cli import main
        try:
            main()
        except SystemExit:
            pass
        print(*{heavy} & set(sys.modules), file=sys.stderr)
    """
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert "Usage:" in done.stdout
    assert done.stderr.strip() == ""


SHARED = """
from dataclasses import dataclass
from typing import Annotated, ClassVar
from speed_benchmark.cell import Option
from speed_benchmark.engines.settings import Settings, Traits

@dataclass(frozen=True, kw_only=True)
class EchoSettings(Settings):
    traits: ClassVar[Traits] = Traits(title="Echo", length_option="max_model_len")
    max_model_len: Annotated[int, Option("longest prompt plus output")] = 512
    streams: Annotated[int, Option("streams at once")] = 2
    graphs: Annotated[bool, Option("CUDA graphs")] = True
"""


def plugin(folder: Path, module: str, text: str) -> str:
    """Installs a plugin whose engine is called as its module; returns the PYTHONPATH that finds it."""
    (folder / f"{module}-1.dist-info").mkdir(parents=True)
    (folder / f"{module}.py").write_text(text)
    (folder / f"{module}-1.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
    (folder / f"{module}-1.dist-info" / "entry_points.txt").write_text(
        f"[speed_benchmark.engines]\n{module} = {module}:EchoSettings\n"
    )
    return str(folder)


def test_flags_of_a_plugin(command: Command, tmp_path: Path) -> None:
    path = plugin(tmp_path / "site", "echo", SHARED)
    text = " ".join(command("run", "--help", PYTHONPATH=path, COLUMNS="200").stdout.split())
    assert "--streams NUMBER streams at once (echo only) [default: 2]" in text
    assert "longest prompt plus output (echo, vllm only) [default: 512 of echo, 32768 of vllm]" in text
    assert "--engine echo|transformers|vllm" in text
    asked = ("plan", "--engine", "echo", "--model_id_or_path", QWEN, "--context_length", "100", "--no_graphs")
    refused = command(*asked, "--max-model-len", "300", PYTHONPATH=path)
    assert refused.stderr.startswith("error: --max_model_len 300: 100 input and 2048 generated tokens are 2148")
    assert command(*asked, "--generate_length", "1", PYTHONPATH=path).returncode == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_module\n", "it can't be imported: ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemError('of its own')\n", "it can't be imported: SystemError: of its own"),
        ("class EchoSettings: pass\n", "its entry point names no subclass of"),
        (SHARED.replace("streams", "repeats"), "its option repeats is one that every engine has"),
    ],
)
def test_a_broken_plugin_is_left_out(command: Command, tmp_path: Path, text: str, reason: str) -> None:
    path = plugin(tmp_path / "site", "broken", text)
    shown = command("run", "--help", PYTHONPATH=path)
    assert shown.returncode == 0
    assert "--engine transformers|vllm" in shown.stdout
    (warning,) = shown.stderr.splitlines()
    assert warning.startswith(f"warning: the engine broken is left out: {reason}")
    asked = command("plan", "--engine", "broken", "--model_id_or_path", QWEN, "--context_length", "5", PYTHONPATH=path)
    assert asked.returncode == 2
    assert asked.stderr.splitlines()[-1].startswith(f"error: --engine broken: {reason}")


@pytest.mark.slow
@pytest.mark.usefixtures("two_gpus")
@pytest.mark.attack("2.9")
def test_gpus_are_counted_for_any_architecture_but_one_of_a_models_own(tmp_path: Path) -> None:
    """Two attention heads are split over one GPU or two; of code that came with a model nothing is known."""
    others = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen3": "Qwen3ForCausalLM"}
    folders = [
        with_weights(model_folder(tmp_path / kind, model_type=kind, architectures=[name]))
        for kind, name in others.items()
    ]
    known.ask(Model(model_id_or_path=str(folder)) for folder in folders)
    for folder in folders:
        for engine in ("transformers", "vllm"):
            assert planned(engine=engine, gpus="auto", model_id_or_path=str(folder))[0].gpus == (0,)
            assert planned(engine=engine, gpus="0,1", model_id_or_path=str(folder))[0].gpus == (0, 1)
    own = with_weights(model_folder(tmp_path / "own", auto_map={"AutoModelForCausalLM": "own.Own"}, model_type="own"))
    for engine in ("transformers", "vllm"):
        asked = {"engine": engine, "model_id_or_path": str(own), "trust_remote_code": "true"}
        with pytest.raises(UserError, match=r"^--gpus auto: the shape of .* is not known; name the GPUs$"):
            planned(**asked, gpus="auto")
        assert planned(**asked, gpus="0,1")[0].gpus == (0, 1)
        (note,) = known.notes([planned(**asked, gpus="0")[0].cells[0].model])
        assert note.endswith("transformers knows no model_type 'own'")
        assert "neither estimate nor roofline" in note


def with_weights(folder: Path) -> Path:
    """With a file that claims to hold 1 GiB and takes no room."""
    header = json.dumps({"a": {"dtype": "U8", "shape": [2**30], "data_offsets": [0, 2**30]}}).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 2**30)
    return folder


@pytest.mark.attack("2.13")
def test_a_local_generation_config_out_of_bounds_is_refused(tmp_path: Path) -> None:
    folder = with_weights(model_folder(tmp_path / "model"))
    (folder / "generation_config.json").write_text('{"do_sample": true, "temperature": -1}')
    for weights in ("hub", "synthetic"):
        flags = {"model_id_or_path": str(folder), "weights": weights}
        with pytest.raises(UserError, match=r"^--model_id_or_path \S+: temperature in its generation_config\.json"):
            planned(**flags)
        assert planned(**flags, sampling="greedy")


def test_a_record_that_could_not_be_read_again_is_not_made() -> None:
    many = {"generate_length": "5000", "batch_size": "512"}
    assert planned(**many, repeats="3")
    with pytest.raises(UserError, match=r"^--generate_length 5000: the times of 28,160,000 tokens are more than"):
        planned(**many, repeats="10")
