"""Files that reach out of their folder, lie about their size, or are larger than memory."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile.box import Box

SHARD = "model-00001-of-00001.safetensors"
INDEX = "model.safetensors.index.json"


def short(value: object) -> str:
    """The name of a case."""
    return repr(value)[:20]


def test_an_honest_model_is_taken(box: Box) -> None:
    assert str(box.fetch()["digest"]).startswith("sha256:")


@pytest.mark.parametrize(
    "name",
    [
        "../secret.safetensors",
        "/etc/passwd",
        "sub/../../secret.safetensors",
        "sub/model.safetensors",
        "..",
        "",
        "a\0b.safetensors",
        "*.safetensors",
        "~/secret.safetensors",
        7,
        None,
        ["model.safetensors"],
        "x" * 10_000,
    ],
    ids=short,
)
def test_an_index_names_files_of_its_own_folder_only(box: Box, name: object) -> None:
    (box.model.parent / "secret.safetensors").write_bytes((box.model / SHARD).read_bytes())
    (box.model / INDEX).write_text(json.dumps({"weight_map": {"model.norm.weight": name}}))
    assert "which is no file of its own folder" in box.refused()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {}}', "[" * 100_000, "\xff"], ids=short
)
def test_an_index_that_is_none(box: Box, text: str) -> None:
    (box.model / INDEX).write_text(text, encoding="latin-1")
    assert "is no index of weights" in box.refused()


def test_an_index_names_a_file_that_is_not_there(box: Box) -> None:
    (box.model / INDEX).write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))
    assert "has no gone.safetensors" in box.refused()


@pytest.mark.parametrize("name", [SHARD, "config.json", "generation_config.json", "tokenizer.json", "anything"])
@pytest.mark.parametrize("target", ["/etc/passwd", "../secret", "../gone", "loop"])
def test_a_link_out_of_the_folder(box: Box, name: str, target: str) -> None:
    (box.model.parent / "secret").write_text("{}")
    file = box.model / name
    file.unlink(missing_ok=True)
    file.symlink_to(name if target == "loop" else target)
    error = box.refused() if target != "loop" or name in (SHARD, "config.json") else str(box.fetch())
    assert ("link out of the folder" in error) == (target != "loop")
    assert "root:" not in error


def test_a_link_within_the_folder_is_fine(box: Box) -> None:
    (box.model / "blobs").mkdir()
    (box.model / SHARD).rename(box.model / "blobs" / "weights")
    (box.model / SHARD).symlink_to("blobs/weights")
    assert "digest" in box.fetch()


def header(text: bytes, length: int | None = None) -> Callable[[bytes], bytes]:
    return lambda _: struct.pack("<Q", len(text) if length is None else length) + text


def one_tensor(**changed: object) -> Callable[[bytes], bytes]:
    tensor = {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]} | changed
    return lambda _: header(json.dumps({"a": tensor}).encode())(b"") + b"\0" * 8


LIES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "half": lambda whole: whole[: len(whole) // 2],
    "one byte short": lambda whole: whole[:-1],
    "one byte more": lambda whole: whole + b"\0",
    "header of 2^63 bytes": header(b"{}", 1 << 63),
    "header longer than the file": header(b"{}", 1_000_000),
    "header of 99 MB": header(b"{}", 99_000_000),
    "no JSON": header(b"\x80\x04\x95"),
    "deep": header(b'{"a":' * 50_000),
    "no object": header(b"[]"),
    "beyond the end": one_tensor(data_offsets=[0, 1 << 40]),
    "more numbers than bytes": one_tensor(shape=[1 << 40]),
    "product overflows": one_tensor(shape=[1 << 33, 1 << 33, 1 << 33]),
    "negative": one_tensor(shape=[-4]),
    "backwards": one_tensor(data_offsets=[8, 0]),
    "hole": one_tensor(data_offsets=[4, 8], shape=[2]),
    "no such type": one_tensor(dtype="PICKLE"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies(box: Box, lie: str) -> None:
    file = box.model / SHARD
    file.write_bytes(LIES[lie](file.read_bytes()))
    assert f"its {SHARD} is not whole" in box.refused()


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_weights_that_are_no_file(box: Box, kind: str) -> None:
    (box.model / SHARD).unlink()
    os.mkfifo(box.model / SHARD) if kind == "pipe" else (box.model / SHARD).mkdir()
    assert f"has no {SHARD}" in box.refused()


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer.json", INDEX])
def test_a_file_of_a_gigabyte_is_not_read(box: Box, name: str) -> None:
    sparse(box.model / name, 1 << 30)
    assert f"its {name} is larger than" in box.refused()


def sparse(file: Path, size_bytes: int) -> None:
    with file.open("wb") as content:
        content.truncate(size_bytes)


@pytest.mark.parametrize(
    "changed",
    [
        {"num_hidden_layers": 10**9},
        {"hidden_size": 10**9},
        {"hidden_size": -64},
        {"hidden_size": "64"},
        {"hidden_size": 64.5},
        {"hidden_size": [64]},
        {"vocab_size": 2**63},
        {"max_position_embeddings": 10**30},
        {"num_attention_heads": 0},
        {"rope_scaling": "linear"},
        {"rope_scaling": {"rope_type": "yarn", "factor": 1e300, "original_max_position_embeddings": 4096}},
        {"torch_dtype": "os.system"},
        {"model_type": "../../evil"},
        {"architectures": ["../evil"]},
        {"transformers_weights": "../secret.safetensors"},
    ],
    ids=str,
)
def test_absurd_configs(box: Box, changed: dict[str, object]) -> None:
    box.configure(**changed)
    assert "--model_id_or_path" in box.refused()


def test_a_config_that_describes_more_than_there_is(box: Box) -> None:
    box.configure(hidden_size=65_536, intermediate_size=1_048_576, num_hidden_layers=1024, vocab_size=4_000_000)
    assert "bytes of weights, its files hold" in box.refused()


@pytest.mark.parametrize("text", ["", "{", "[" * 900_000, '{"a": NaN}', "\x80\x04\x95", "null"], ids=short)
def test_configs_that_are_not_json(box: Box, text: str) -> None:
    (box.model / "config.json").write_text(text, encoding="latin-1")
    assert "is not" in box.refused()
