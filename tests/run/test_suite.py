"""Suites: what their text stands for, and what is refused."""

import re
from pathlib import Path
from typing import Any

import pytest

from speed_benchmark.errors import UserError
from speed_benchmark.run.plan import plan
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
        find("suites/qwen3.toml")
