"""Suites: what their text stands for, and what is refused."""

import os
import re
import resource
import time
from pathlib import Path
from typing import Any

import pytest

from speed_benchmark.errors import UserError
from speed_benchmark.run.limits import Limits
from speed_benchmark.run.plan import build, plan
from speed_benchmark.run.policy import Policy
from speed_benchmark.run.suite import NUMBERS, Suite, combine, find


def points(**flags: Any) -> list[dict[str, str]]:
    return list(combine(None, flags).points())


def suite(tmp_path: Path, text: str, **flags: Any) -> Suite:
    (tmp_path / "s.toml").write_text(text)
    return combine(tmp_path / "s.toml", flags)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("5", ["5"]),
        ("1,6144,14336", ["1", "6144", "14336"]),
        ("1-8*2", ["1", "2", "4", "8"]),
        ("1024-8192+1024", [str(value) for value in range(1024, 8193, 1024)]),
        ("3-5", ["3", "4", "5"]),
        ("1-100*3,7,1", ["1", "3", "9", "27", "81", "7"]),
        ("{1,6}144", ["1144", "6144"]),
    ],
)
def test_values_of_a_number(text: str, values: list[str]) -> None:
    assert [point["context_length"] for point in points(context_length=text)] == values


def test_braces_in_a_model() -> None:
    ids = [point["model_id_or_path"] for point in points(model_id_or_path="Qwen/Q-{0.5B,7B}{,-AWQ},other/x")]
    assert ids == ["Qwen/Q-0.5B", "Qwen/Q-0.5B-AWQ", "Qwen/Q-7B", "Qwen/Q-7B-AWQ", "other/x"]


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "a,{b,c}"
    folder.mkdir()
    assert [point["model_id_or_path"] for point in points(model_id_or_path=str(folder))] == [str(folder)]


def test_batch_sizes_are_an_axis() -> None:
    assert [point["batch_size"] for point in points(batch_size="1,4-16*2")] == ["1", "4", "8", "16"]


def test_depths_are_input_lengths_with_few_tokens_to_generate() -> None:
    """A request needs a prompt: nothing before the output is one token."""
    lengths = [(point["context_length"], point["generate_length"]) for point in points(depth="0,8192-32768*4")]
    assert lengths == [("1", "128"), ("8192", "128"), ("32768", "128")]
    assert points(depth="0,1,64", generate_length="32") == [
        {"context_length": "1", "generate_length": "32"},
        {"context_length": "64", "generate_length": "32"},
    ]


def test_depths_in_a_suite(tmp_path: Path) -> None:
    text = """
generate_length = 64
[[grid]]
depth = [0, 8192]
[[grid]]
context_length = 7
"""
    assert list(suite(tmp_path, text).points()) == [
        {"context_length": "1", "generate_length": "64"},
        {"context_length": "8192", "generate_length": "64"},
        {"context_length": "7", "generate_length": "64"},
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"depth": "0,64", "context_length": "1"}, "--depth 0,64: takes the place of --context_length"),
        ({"depth": "deep"}, "--depth deep: takes whole numbers from 0 up"),
        ({"depth": "-5"}, "--depth -5: takes whole numbers from 0 up"),
        ({"depth": "9-1"}, "--depth 9-1: a range rises"),
    ],
)
def test_depths_that_make_no_sense(flags: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        points(**flags)


def test_every_whole_number_takes_ranges() -> None:
    engines_own = {"max_model_len"}
    assert set(NUMBERS) == engines_own | {
        *("context_length", "generate_length", "batch_size", "seed"),
        *("repeats", "warmups", "processes", "max_repeats"),
    }


def test_a_name_too_long_for_a_file_is_a_list_like_others() -> None:
    text = ",".join(f"Qwen-{number}" for number in range(60))
    assert len(points(model_id_or_path=text)) == 60


def test_commas_of_gpus_are_not_a_list() -> None:
    assert [point["gpus"] for point in points(gpus="0,1")] == ["0,1"]


def test_settings_go_to_the_engines_they_apply_to() -> None:
    found = points(engine="transformers,vllm", max_model_len="4096,8192", attn_implementation="eager")
    assert found == [
        {"engine": "transformers", "attn_implementation": "eager"},
        {"engine": "vllm", "max_model_len": "4096"},
        {"engine": "vllm", "max_model_len": "8192"},
    ]


def test_grids_add_up_and_flags_replace(tmp_path: Path) -> None:
    text = """
        engine = "fake"
        seed = [1, 2]
        [[grid]]
        context_length = "1-4*2"
        [[grid]]
        context_length = 9
        seed = 3
    """
    assert len(list(suite(tmp_path, text).points())) == 3 * 2 + 1
    replaced = list(suite(tmp_path, text, seed="7").points())
    assert [(point["context_length"], point["seed"]) for point in replaced] == [(n, "7") for n in ("1", "2", "4", "9")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("contxt_length = 1", "did you mean context_length?"),
        ("[[grid]]\nrepeat = 1", "did you mean repeats?"),
        ("[[grid]]\nrounds = 1", "no such key"),
        ("grid = 1", "as a table"),
        ("seed = {a = 1}", "takes text, a number"),
        ("seed = 2020-01-01", "takes text, a number"),
        ("seed = [", "can't be read"),
        ("exclude = 'engine'", "write it as key=values"),
        ("exclude = 'egine=vllm'", "did you mean engine?"),
        ("context_length = '8-1'", "a range rises"),
        ("context_length = '1-8*1'", "a range rises"),
        ("context_length = '0-8*2'", "a range rises"),
        ("context_length = '1-1000000000+1'", "more than 100,000 values"),
        ("model_id_or_path = '{1..200000}'", "more than 100,000 values"),
    ],
)
def test_refused_in_words(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        suite(tmp_path, text)


def test_too_many_cells_are_counted_and_not_made() -> None:
    with pytest.raises(UserError, match="of 9,000,000,000 cells"):
        points(context_length="1-30000", seed="1-30000", warmups="1-10")


def test_exclusions() -> None:
    flags = {
        "engine": "transformers",
        "model_id_or_path": "Qwen/Qwen2.5-{0.5B,7B}-Instruct",
        "context_length": "1,2,3",
        "exclude": ["model_id_or_path=*7B*; context_length=2-3", "context_length=1; model_id_or_path=*0.5B*"],
    }
    cells = [cell for group in plan(combine(None, flags)) for cell in group.cells]
    assert [(cell.model.model_id_or_path[13:17], cell.workload.context_length) for cell in cells] == [
        *(("0.5B", 2), ("0.5B", 3), ("7B-I", 1)),
    ]
    with pytest.raises(UserError, match="nothing to measure"):
        plan(combine(None, flags | {"exclude": ["engine=*"]}))


def test_one_load_for_all_lengths_that_share_settings() -> None:
    flags = {
        "engine": "transformers",
        "model_id_or_path": "Qwen/Qwen2.5-7B-Instruct",
        "context_length": "14336,1,63488,6144",
        "repeats": "3,5",
    }
    groups = plan(combine(None, flags))
    lengths = [[cell.workload.context_length for cell in group.cells] for group in groups]
    assert lengths == [[1, 1, 6144, 6144, 14336, 14336], [63488, 63488]], "YaRN needs a load of its own"


def test_the_report() -> None:
    """The published rows: 7 sizes in 4 formats at 4 lengths on both engines, 4 sizes further on vLLM, and 6 more."""
    groups = plan(combine(find("suites/qwen2.5.toml"), {"weights": "synthetic"}))
    cells = [cell for group in groups for cell in group.cells]
    assert len(cells) == 7 * 4 * 4 * 2 + 2 * 4 * 4 + 3 + 1 + 1 + 1
    assert {cell.protocol.repeats for cell in cells} == {3}
    assert len(groups) == 7 * 4 * 2 + 2 * 4 * 4 + 4
    limits = {cell.settings.options.get("max_model_len") for cell in cells}
    assert limits == {None, 4096, 8192, 32768, 65536, 131072}


def test_unknown_suite_names_those_that_are_here() -> None:
    with pytest.raises(UserError, match=r"qwen2\.5.*smoke"):
        find("suites/qwen9.toml")


SEEDS = "[" + "'1-99999'," * 1000 + "]"


@pytest.mark.attack("2.11")
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = " + "[" * 100_000, "can't be read: "),
        ("seed = " + "[" * 100_000 + "]" * 100_000, "can't be read: "),
        ("a = " + "{a = " * 100_000, "can't be read: "),
        ("seed = " + "9" * 5000, "can't be read: "),
        ("seed = 0x" + "f" * 5000, "can't be read: "),
        ("grid = 0x" + "f" * 5000, "can't be read: "),
        ("outputs_dir = ['a']", "--outputs_dir ['a']: takes the name of a folder"),
        ("outputs_dir = 7", "--outputs_dir 7: takes the name of a folder"),
        ("outputs_dir = '\0'", "can't be read: "),
        ('outputs_dir = "\\u0000"', "takes the name of a folder"),
        ("model_id_or_path = '" + "{" * 5000 + "a,b" + "}" * 5000 + "'", "is longer than 4,096 characters"),
        ("model_id_or_path = '" + "{" * 2000 + "a,b" + "}" * 2000 + "'", "has too many braces in one another"),
        ("model_id_or_path = '" + "{a,b}" * 60 + "'", "more than 100,000 values"),
        ("exclude = 'model_id_or_path=" + "{a,b}" * 60 + "'", "more than 100,000 values"),
        ("exclude = [{a = 1}]", "write it as key=values"),
        ("engine = [['fake']]", "takes text, a number"),
    ],
    ids=lambda value: value[:30],
)
def test_what_makes_no_sense_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)) as refused:
        suite(tmp_path, text)
    assert len(str(refused.value)) < 600
    assert str(refused.value).isprintable()


@pytest.mark.attack("2.11")
@pytest.mark.parametrize("name", ["rounds", "accept", "parallel", "load_limit_s"])
@pytest.mark.parametrize("value", ["[[1]]", "{a = 1}", "1979-05-27", "'x'"])
def test_settings_of_a_wrong_type(tmp_path: Path, name: str, value: str) -> None:
    settings = suite(tmp_path, f"{name} = {value}").settings
    with pytest.raises(UserError, match=f"^--{name} "):
        [build(group, settings) for group in (Policy, Limits)]


@pytest.mark.attack("2.12")
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed = [" + "1," * 1_000_000 + "]", "it is larger than 1,000,000 bytes"),
        (".".join("a" * 40_000) + " = 1", "dots outside of texts"),
        (".".join(["'~'"] * 40_000) + " = 1", "dots outside of texts"),
        ('[a]\nb = """x""""\nc = {' + ".".join("a" * 40_000) + " = '\"'}", "dots outside of texts"),
        ("a = {b = '''x'y''', " + ".".join("a" * 40_000) + " = ''}", "dots outside of texts"),
        ("a = {b = '''x'''', " + ".".join("a" * 40_000) + " = 'c'}", "dots outside of texts"),
        (f"seed = {SEEDS}", "more than 100,000 values"),
        ("[[grid]]\nseed = '1-99999'\n" * 1000, "of 199,998 cells or more"),
        ("seed = '1-99999'\n" + "[[grid]]\n" * 1000, "of 199,998 cells or more"),
        (f"revision = '{'a' * 4000}{{1..99999}}'", "or for many long ones"),
        ("revision = [" + f"'{'a' * 4000}{{1..2000}}'," * 5 + "]", "or for many long ones"),
        ("# " + "字" * 400_000, "it is larger than 1,000,000 bytes"),
        ("exclude = [" + "'seed=1;revision=2'," * 5001 + "]", "more than 10,000 patterns"),
        ("exclude = 'seed={1..10001}'", "more than 10,000 patterns"),
        (f"revision = '{'${' * 100_000}'", "is longer than 4,096 characters"),
    ],
    ids=lambda value: value[:30],
)
def test_what_would_take_gigabytes_or_minutes(tmp_path: Path, text: str, says: str) -> None:
    started, before = time.monotonic(), peak_bytes()
    with pytest.raises(UserError, match=says):
        suite(tmp_path, text)
    assert time.monotonic() - started < 30
    assert peak_bytes() - before < 300_000_000


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.attack("2.12")
def test_only_the_beginning_of_a_large_file_is_read(tmp_path: Path) -> None:
    with (tmp_path / "s.toml").open("wb") as file:
        file.truncate(3 * 2**30)
    with pytest.raises(UserError, match="it is larger than"):
        combine(find(str(tmp_path / "s.toml")), {})


@pytest.mark.attack("2.12")
def test_many_dots_in_texts_and_numbers_are_fine(tmp_path: Path) -> None:
    models = [f"Qwen/Qwen2.5-{size}B" for size in range(2000)]
    text = f"# {'.' * 5000}\nmodel_id_or_path = {models}\ngpu_memory_utilization = [0.5, 0.9]\n"
    text += f'revision = """\n{"." * 3000}"""\n'
    (grid,) = suite(tmp_path, text).grids
    assert list(grid["model_id_or_path"]) == models
    assert grid["revision"] == ("." * 3000,)


@pytest.mark.attack("2.12", "1.32")
@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "300", "5000", "nul"])
def test_only_regular_files_are_suites(tmp_path: Path, kind: str) -> None:
    names = {"device": "/dev/zero", "300": "x" * 300, "5000": f"{'x' * 5000}.toml", "nul": "a\0b"}
    name = names.get(kind, str(tmp_path / kind))
    if kind == "pipe":
        os.mkfifo(name)
    elif kind == "folder":
        Path(name).mkdir()
    with pytest.raises(UserError, match="no such file; name one") as refused:
        find(name)
    assert str(refused.value).isprintable()
