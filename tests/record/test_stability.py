"""A later version of this tool reads the records of this one: an edited copy of the package against the package itself.

In the copy a finding is worded otherwise, a rule is added that speaks of every record, and so are an optional field of
the summary, one of the record and one of the workload.
"""

import csv
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import speed_benchmark

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
EDITS = {
    "cell.py": (
        '    sampling: Annotated[\n        Literal["model", "greedy"],',
        '    depth: Annotated[int, Option("tokens in the cache before", implied=0)] = 0\n',
    ),
    "record/record.py": (
        "    earlier_id: Digest | None = Field(",
        '    remark: str | None = Field(default=None, description="a later version\'s")\n',
    ),
    "judge/judgement.py": (
        "    memory: Memory = Field(",
        '    later: float | None = Field(default=1.5, description="a later version\'s")\n',
    ),
}
RULE = '''

@rule("always", Severity.NOTE)
def always(_seen: Seen) -> Found:
    """Speak of every record."""
    yield {"said": "always"}
'''

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the edited copy, to be put on PYTHONPATH."""
    folder = tmp_path_factory.mktemp("later")
    package = folder / "speed_benchmark"
    shutil.copytree(Path(speed_benchmark.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, (before, added) in EDITS.items():
        text = (package / name).read_text()
        assert text.count(before) == 1, name
        (package / name).write_text(text.replace(before, added + before))
    rules = package / "judge/rules/counts.py"
    rules.write_text(rules.read_text() + RULE)
    findings = package / "texts/locale/en/findings.po"
    text = findings.read_text()
    assert "decoding went at two paces" in text
    findings.write_text(text.replace("decoding went at two paces", "decoding had two speeds"))
    return folder


def run(*arguments: object, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the tool, of this version or of the one in the folder `path`."""
    return subprocess.run(
        [sys.executable, "-m", "speed_benchmark", *map(str, arguments)],
        env=os.environ | ({"PYTHONPATH": str(path)} if path else {}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def rows(done: subprocess.CompletedProcess[str]) -> list[dict[str, str]]:
    assert done.returncode == 0, done.stderr
    return list(csv.DictReader(io.StringIO(done.stdout)))


def test_the_copy_is_another_version(later: Path) -> None:
    """What follows would prove nothing if the edited package were not the one that runs."""
    told = run("report", RESULTS / "nvidia-h200", "--format", "json", path=later).stdout
    assert "decoding had two speeds" in told
    assert "decoding went at two paces" not in told
    assert "always" in told


def test_report(later: Path) -> None:
    """The same rows with the same ids and figures; only what the findings say differs."""
    before, after = (rows(run("report", RESULTS, "--format", "csv", path=path)) for path in (None, later))
    assert len(before) == len(after) > 30
    said = {"notes", "reasons", "findings"}
    for one, other in zip(before, after, strict=True):
        assert "always" in other["findings"]
        assert {name: other[name] for name in one.keys() - said} == {name: one[name] for name in one.keys() - said}


def test_compare(later: Path) -> None:
    folders = (RESULTS / "nvidia-h100-other-host", RESULTS / "nvidia-h100")
    before, after = (run("compare", *folders, "--format", "csv", path=path).stdout for path in (None, later))
    assert before == after
    assert before.count("\n") > 2


def test_verify(later: Path) -> None:
    """No file is damaged; that this version judges otherwise is told, and is no error."""
    before, after = run("verify", RESULTS), run("verify", RESULTS, path=later)
    assert (before.returncode, after.returncode) == (0, 0)
    count = len(list(RESULTS.rglob("*.json")))
    assert count >= 43
    assert f"{count} records, 0 of them damaged" in before.stdout
    assert f"{count} records, 0 of them damaged" in after.stdout
    assert after.stdout.count("always") == count
    assert "always" not in before.stdout
