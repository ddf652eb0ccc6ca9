"""Folders that others have filled: every verb goes on with the sound records and names what is wrong with the rest."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.attacks.forge import with_evidence
from tests.faults.sweeps import arguments, make_model

pytestmark = pytest.mark.engine

# What each hostile file is said to be; of those that are no records one is named, and the others are counted.
DAMAGED = {
    "deep.json": "no record of this version: Invalid JSON: recursion limit exceeded",
    "digits.json": "no record of this version: Invalid JSON: number out of range",
    "endless.json": "it is larger than 256 MiB, which no record is",
    "latin.json": "no record of this version: Invalid JSON: invalid unicode code point",
    "no_json.json": "no record of this version: Invalid JSON: expected ident",
    "words.json": "no record of this version: created_at",
}
PASSED_OVER = ("device.json", "gone.json", "package.json", "pipe.json", "table.json", "printed.json")


def command(folder: Path, *arguments: object, timeout_s: float = 60) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "speed_benchmark", *map(str, arguments)],
        cwd=folder, env=os.environ | {"COLUMNS": "200"}, capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip


def run(model: Path, out: Path, *more: object, **limits: float) -> "subprocess.CompletedProcess[str]":
    return command(model.parent, *arguments([model], out, *more, lengths="5"), **limits)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model, and a folder with its only record."""
    folder = tmp_path_factory.mktemp("measured")
    model = make_model(folder / "m")
    assert run(model, folder / "out").returncode == 0
    return model, folder / "out"


@pytest.fixture
def out(measured: tuple[Path, Path], tmp_path: Path) -> Path:
    """The folder, and beside the record whatever a stranger may have put there."""
    folder = shutil.copytree(measured[1], tmp_path / "out")
    (true,) = folder.glob("*.json")
    content = true.read_bytes()

    def put(name: str, old: bytes, new: bytes) -> None:
        assert old in content
        (folder / name).write_bytes(with_evidence(content, lambda evidence: evidence.replace(old, new, 1)))

    put("deep.json", b'"config_overrides":{}', b'"config_overrides":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    put("digits.json", b'"schema_version":2', b'"schema_version":' + b"9" * 5000)
    put("latin.json", b'"engine":"fake"', b'"engine":"\xe9"')
    put("no_json.json", b'"engine":"fake"', b'"engine":fake')
    created = content[content.index(b'"created_at":') :].split(b",", 1)[0]
    put("words.json", created, b'"created_at":"yesterday"')
    with (folder / "endless.json").open("wb") as file:
        file.write(content[:1000])
        file.truncate(20 * 2**30)
    (folder / "device.json").symlink_to("/dev/zero")
    (folder / "gone.json").symlink_to("nowhere")
    (folder / "package.json").write_text(json.dumps({"name": "record_id", "cell_id": "mine"}))
    (folder / "table.json").write_text("[" * 1_000_000)
    (folder / "printed.json").write_bytes(content * 2)
    (folder / "folder.json").mkdir()
    os.mkfifo(folder / "pipe.json")
    return folder


@pytest.mark.attack("1.11", "1.12", "1.13", "1.14", "1.16")
@pytest.mark.parametrize("verb", ["report", "reference", "compare", "gate"])
def test_a_verb_names_what_is_damaged_and_goes_on(out: Path, verb: str) -> None:
    given: dict[str, list[object]] = {"compare": [out, out], "gate": [out, "--baseline", out]}
    done = command(out.parent, verb, *given.get(verb, [out]))
    assert "Traceback" not in done.stderr
    for name, said in DAMAGED.items():
        assert f"damaged: {out / name}: {said}" in done.stderr
    assert f"passed over: {out / 'device.json'}: it is no regular file, and {len(PASSED_OVER) - 1} more" in done.stderr
    assert done.returncode == (2 if verb == "reference" else 1)
    if verb == "reference":
        assert "no cell in common with the Qwen2.5 page" in done.stderr
    else:
        assert " 5 " in done.stdout


@pytest.mark.attack("1.11", "1.12", "1.13", "1.14", "1.16")
def test_verify_tells_them_apart(out: Path) -> None:
    done = command(out.parent, "verify", out)
    assert "Traceback" not in done.stderr
    for name, said in DAMAGED.items():
        assert f"{out / name}: damaged: {said}" in done.stdout
    such_as = f"{out / 'device.json'}: it is no regular file"
    assert done.stdout.endswith(f"7 records, 6 of them damaged; {len(PASSED_OVER)} passed over, such as {such_as}\n")
    assert done.returncode == 1


@pytest.mark.attack("1.11", "1.12", "1.13", "1.14", "1.16")
def test_run_finds_its_record_among_them(out: Path, measured: tuple[Path, Path]) -> None:
    done = run(measured[0], out)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert "stored already: 1 of 1" in done.stderr


@pytest.mark.attack("1.12", "1.31")
def test_what_may_not_be_read_is_named(measured: tuple[Path, Path], tmp_path: Path) -> None:
    """A file and a folder that somebody keeps to himself; root gives up what lets it read them all the same."""
    out = shutil.copytree(measured[1], tmp_path / "out")
    (true,) = out.glob("*.json")
    shutil.copytree(measured[1], out / "private").chmod(0)
    shutil.copy(true, out / "secret.json")
    (out / "secret.json").chmod(0)
    drop = () if os.geteuid() else ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    try:
        done = subprocess.run(
            [*drop, sys.executable, "-m", "speed_benchmark", "report", str(out)],
            cwd=tmp_path, env=os.environ | {"COLUMNS": "200"}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    finally:
        (out / "private").chmod(0o700)
    assert done.returncode == 1, done.stderr
    assert f"damaged: {out / 'private'}: it can't be read (Permission denied)" in done.stderr
    assert f"damaged: {out / 'secret.json'}: it can't be read (Permission denied)" in done.stderr
    assert " 5 " in done.stdout


@pytest.mark.attack("1.19")
def test_a_project_with_thousands_of_other_files(measured: tuple[Path, Path], tmp_path: Path) -> None:
    """They are looked at, not parsed; and counted, not listed."""
    out = shutil.copytree(measured[1], tmp_path / "out")
    for package in range(100):
        folder = out / "node_modules" / f"p{package}"
        folder.mkdir(parents=True)
        for number in range(50):
            (folder / f"{number}.json").write_text(json.dumps({"name": "p", "files": ["x"] * 100}))
    done = command(tmp_path, "report", out)
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("passed over: ")
    assert line.endswith("and 4999 more .json files that are no records")
    started = time.monotonic()
    again = run(measured[0], out)
    assert time.monotonic() - started < 20, "minutes if each were parsed as a record"
    assert (again.returncode, "stored already: 1 of 1" in again.stderr) == (0, True)


@pytest.mark.attack("1.3")
def test_a_judgement_in_a_file_is_not_believed(measured: tuple[Path, Path], tmp_path: Path) -> None:
    """What `run` says of a stored record is what its samples say."""
    out = shutil.copytree(measured[1], tmp_path / "out")
    (true,) = out.glob("*.json")
    content = true.read_bytes()
    worse = with_evidence(content, lambda evidence: evidence.replace(b'"output_tokens":4', b'"output_tokens":3'))
    start = worse.rindex(b',"judgement":')
    true.write_bytes(worse[:start] + b',"judgement":{"verdict":"valid","findings":[],"summary":null}}\n')
    done = run(measured[0], out)
    assert done.returncode == 1
    assert "invalid" in done.stderr
    assert "invalid" in done.stdout
