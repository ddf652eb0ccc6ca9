"""How many small faults in the rules and the statistics the tests catch.

mutmut puts one fault at a time (another operator, constant, argument) into judge/rules/*.py, judge/statistics.py,
judge/quick.py and judge/roofline.py, in a copy of the repository, and runs the exact tests of this room (all of
tests/judge but the simulation and what reads stored records). Prints the faults that no test noticed and the share
that was caught; exits 1 where that is below 90 %. Takes about 20 minutes on two cores.

usage: mutation.py [--processes N] [NAME …]   (a name is a pattern of mutants: *trend*)
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

LEAST_CAUGHT = 0.9
MUTATED = ("rules/*.py", "statistics.py", "quick.py", "roofline.py")
SLOW = ("test_coverage.py", "test_schema1.py", "test_stability.py", "test_verify.py")
RULE = re.compile(r"^@(rule\(.*\))\ndef (\w+)\(", re.MULTILINE)


def mutated(root: Path) -> list[Path]:
    """The files that get faults."""
    return sorted(path for pattern in MUTATED for path in (root / "src/speed_benchmark/judge").glob(pattern))


def undecorate(file: Path) -> None:
    """Make the rules in `file` of plain functions: mutmut leaves decorated ones alone."""
    text = file.read_text()
    made = "".join(f"{name} = {rule}({name}_check)\n" for rule, name in RULE.findall(text))
    file.write_text(RULE.sub(r"def \2_check(", text) + made)


def config(root: Path) -> str:
    """A setup.cfg for mutmut."""
    tests = sorted(path.relative_to(root) for path in (root / "tests/judge").glob("test_*.py"))
    lists = {
        "only_mutate": [str(path.relative_to(root)) for path in mutated(root)],
        "pytest_add_cli_args_test_selection": [str(path) for path in tests if path.name not in SLOW],
        "pytest_add_cli_args": ["-p", "no:cacheprovider"],
    }
    lines = [f"{name}=\n" + "".join(f"    {value}\n" for value in values) for name, values in lists.items()]
    return "[mutmut]\nsource_paths=src\n" + "".join(lines)


def main() -> int:
    """Mutate, count, judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("names", nargs="*")
    asked = parser.parse_args()
    here = Path(__file__).resolve().parent.parent
    mutmut = [sys.executable, "-m", "mutmut"]
    with tempfile.TemporaryDirectory() as folder:
        for name in ("src", "tests"):
            shutil.copytree(here / name, Path(folder) / name, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
        shutil.copy(here / "pyproject.toml", folder)
        for file in mutated(Path(folder)):
            undecorate(file)
        (Path(folder) / "setup.cfg").write_text(config(here))
        subprocess.run([*mutmut, "run", "--max-children", str(asked.processes), *asked.names], cwd=folder, check=False)
        subprocess.run([*mutmut, "export-cicd-stats"], cwd=folder, check=True)
        results = subprocess.run([*mutmut, "results"], cwd=folder, check=True, capture_output=True, text=True)
        print("\n".join(line for line in results.stdout.splitlines() if not line.endswith("not checked")))
        counts = json.loads((Path(folder) / "mutants" / "mutmut-cicd-stats.json").read_text())
    caught = counts["killed"] + counts["timeout"] + counts["segfault"]
    tried = caught + counts["survived"] + counts["suspicious"] + counts["no_tests"]
    share = caught / tried if tried else 0.0
    print(f"{caught} of {tried} faults caught: {share:.1%}")
    return 0 if share >= LEAST_CAUGHT else 1


if __name__ == "__main__":
    sys.exit(main())
