"""What a power cut leaves of the store: only what was synced is sure, of the rest anything may be there or not."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from speed_benchmark.record.folder import read
from speed_benchmark.record.format import DamagedRecordError, parse
from speed_benchmark.record.record import Record
from speed_benchmark.record.store import Store
from tests.faults.file_operations import Operation, Watched
from tests.faults.sweeps import arguments, make_model, run
from tests.faults.tallies import Tally

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    folder = tmp_path_factory.mktemp("record")
    run(arguments([make_model(folder / "m")], folder / "out", lengths="5"), folder / "out")
    (path,) = (folder / "out").glob("*.json")
    return read(path)


def folders_after(log: list[Operation]) -> Iterator[dict[str, bytes]]:
    """Every folder (name -> content) that can be left when the power fails after `log`.

    A file that was not synced holds nothing, half or all of what was written to it; of the names given and taken away
    since the folder was synced, each may have been so or not.
    """
    written: dict[int, bytes] = {}
    synced: dict[int, bytes] = {}
    sure: dict[str, int] = {}
    pending: list[Operation] = []
    for operation in log:
        match operation.kind:
            case "write":
                written[operation.file] = written.get(operation.file, b"") + operation.content
            case "sync":
                synced[operation.file] = written.get(operation.file, b"")
            case "create" | "link" | "remove":
                pending.append(operation)
            case "sync_folder":
                sure, pending = _names(sure, pending), []
    for kept in product((False, True), repeat=len(pending)):
        names = _names(sure, [operation for operation, keep in zip(pending, kept, strict=True) if keep])
        for share in (0.0, 0.5, 1.0):
            yield {name: synced.get(file) or _part(written.get(file, b""), share) for name, file in names.items()}


def _names(before: dict[str, int], operations: list[Operation]) -> dict[str, int]:
    names = dict(before)
    for operation in operations:
        if operation.kind == "remove":
            names.pop(operation.name, None)
        else:
            names[operation.name] = operation.file
    return names


def _part(content: bytes, share: float) -> bytes:
    return content[: int(len(content) * share)]


def test_power_cut(record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally) -> None:
    """After each operation, in every way: what was stored is there, and nothing half-written passes for whole."""
    store, watched = Store(tmp_path, row=lambda record: {"created_at": record.created_at}), Watched()
    watched.install(monkeypatch)
    returned: list[tuple[int, str]] = []  # (operations before, id)
    for second in range(3):
        sealed, _ = store.write(record.model_copy(update={"created_at": f"2026-01-01T00:00:0{second}+00:00"}))
        returned.append((len(watched.log), sealed.record_id))
    assert {operation.kind for operation in watched.log} == {"create", "write", "sync", "link", "remove", "sync_folder"}
    cases = 0
    for done in range(len(watched.log) + 1):
        safe = {record_id for operations, record_id in returned if operations <= done}
        possible = {record_id for _, record_id in returned}
        for folder in folders_after(watched.log[:done]):
            cases += 1
            with tally("power cuts"):
                found = set()
                for name, content in folder.items():
                    if name.endswith(".json"):
                        found.add(parse(content).record_id)  # raises for one that is not whole
                assert safe <= found <= possible
    assert cases > 200


def test_rows_of_one_second_have_names_of_their_own(record: Record, tmp_path: Path) -> None:
    stores = [Store(tmp_path, row=lambda record: {"created_at": record.created_at}) for _ in range(2)]
    for number, store in enumerate(stores):
        store.write(record.model_copy(update={"busy": (str(number),)}))
    assert len(list(tmp_path.glob("*.csv"))) == len(list(tmp_path.glob("*.json"))) == 2


def test_every_flipped_bit_is_found(record: Record, tmp_path: Path) -> None:
    _, path = Store(tmp_path).write(record)
    content = path.read_bytes()
    assert parse(content).record_id == record.record_id
    found = sum(_is_damaged(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
                for at in range(len(content)) for bit in range(8))  # fmt: skip
    print(f"flipped bits: found {found} of {8 * len(content)}")  # noqa: T201
    assert found == 8 * len(content)


def test_every_cut_is_found(record: Record, tmp_path: Path) -> None:
    _, path = Store(tmp_path).write(record)
    content = path.read_bytes()
    found = sum(_is_damaged(content[:length]) for length in range(len(content)))
    print(f"cut at each length: found {found} of {len(content)}")  # noqa: T201
    assert found == len(content)


def _is_damaged(content: bytes) -> bool:
    try:
        parse(content)
    except DamagedRecordError:
        return True
    return False
