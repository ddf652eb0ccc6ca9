"""The store: its folder, its lock, and the names of its files."""

import errno
import fcntl
import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from speed_benchmark.errors import UserError
from speed_benchmark.files import TEMPORARY_PREFIX
from speed_benchmark.record.record import Record
from speed_benchmark.record.store import ABANDONED_S, Row, Store
from tests.run import made

LONGEST_NAME_BYTES = 143


def row(record: Record) -> Row:
    return {"Model ID": record.cell.model.model_id_or_path, "speed": 1.5}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "out", row)


@pytest.fixture
def opened(store: Store) -> Store:
    store.open()
    return store


def names(store: Store) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir() if path.name != ".lock")


def sweep(store: Store) -> None:
    """What any run does to the folder, whether it measures something or not."""
    with store.locked():
        pass


@pytest.mark.attack("1.32")
@pytest.mark.parametrize("name", ["n" * 300, "a\0b", "file", "file/below"], ids=["long", "NUL", "file", "below_a_file"])
def test_a_folder_that_cannot_be_is_refused_in_a_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as refused:
        Store(tmp_path / name).open()
    assert refused.value.option == "--outputs_dir"
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.attack("1.26")
@pytest.mark.parametrize("name", [os.fsdecode(b"\xffout"), "two\nlines", "\x1b[2J"], ids=["not_UTF-8", "lines", "ESC"])
def test_any_name_that_a_folder_can_have_will_do(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path / name, row)
    store.open()
    sweep(store)
    sealed, _ = store.write(made.record(made.cell()))
    assert [record.record_id for _, record in store.records() if isinstance(record, Record)] == [sealed.record_id]


@pytest.mark.attack("1.25")
@pytest.mark.parametrize(
    "name", ["模" * 70, "m" * 255, "ab" + "模" * 84, os.fsdecode(b"\xff" * 200)], ids=["han", "m", "edge", "not_UTF-8"]
)
def test_names_of_files_fit_whatever_the_model_is_called(opened: Store, tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    for model in (str(tmp_path / name), f"owner/{name}"):
        record = made.record(made.cell(10_000_000, model=model.encode(errors="replace").decode()))
        opened.write(record)
    assert len(names(opened)) == 4, "a record and a row of both"
    assert all(len(os.fsencode(TEMPORARY_PREFIX + one)) <= LONGEST_NAME_BYTES for one in names(opened))


@pytest.mark.attack("2.15")
def test_a_row_runs_no_formula(opened: Store) -> None:
    _, path = opened.write(made.record(made.cell(model='=HYPERLINK("http://h")')))
    (rows,) = opened.folder.glob("*.csv")
    assert rows.read_bytes() == b'Model ID,speed\r\n"\'=HYPERLINK(""http://h"")",1.5\r\n'
    assert path.stem.startswith(rows.stem)


@pytest.mark.attack("1.18")
def test_a_record_has_one_row_however_often_it_is_looked_at(opened: Store) -> None:
    """Renamed, copied here without its row, or of an engine without rows: nothing is read, made or removed."""
    for number in range(3):
        _, path = opened.write(made.record(made.cell(5 + number)))
        if number == 0:
            path.rename(opened.folder / "baseline.json")
        if number == 1:
            next(opened.folder.glob("*length-6*.csv")).unlink()
    Store(opened.folder).write(made.record(made.cell(9)))
    before = names(opened)

    def fail(_record: Record) -> Row:
        pytest.fail("a stored record was read")

    for _ in range(3):
        sweep(Store(opened.folder, fail))
    assert names(opened) == before
    assert len([name for name in before if name.endswith(".csv")]) == 2


def hide_row(path: Path) -> Path:
    """As a killed program leaves it: the record is there, its row has not its name yet."""
    hidden = path.with_name(f"{TEMPORARY_PREFIX}{path.stem}.row")
    return path.with_name(path.stem.rpartition("_")[0] + ".csv").rename(hidden)


def test_a_row_of_a_killed_writer_gets_its_name(opened: Store) -> None:
    _, path = opened.write(made.record(made.cell()))
    before = names(opened)
    hide_row(path)
    sweep(opened)
    assert names(opened) == before


def test_two_records_of_one_second_have_a_row_each(opened: Store) -> None:
    """Two programs chose the same name: the second to show its row finds that taken."""
    _, path = opened.write(made.record(made.cell()))
    hide_row(path).with_name(path.stem.rpartition("_")[0] + ".csv").write_text("another writer's")
    sweep(opened)
    assert path.with_suffix(".csv").read_bytes().startswith(b"Model ID")
    assert len(names(opened)) == 3


@pytest.mark.parametrize("age_s", [0.0, ABANDONED_S + 1])
def test_only_what_this_tool_left_is_removed_and_only_once_it_is_old(opened: Store, age_s: float) -> None:
    _, path = opened.write(made.record(made.cell()))
    lone = hide_row(path)
    path.unlink()
    half = opened.folder / f"{TEMPORARY_PREFIX}abc.tmp"
    others = [opened.folder / name for name in (".editor.tmp", "._row.csv", "row.csv")]
    for file in (half, *others):
        file.touch()
    for file in (lone, half, *others):
        os.utime(file, (file.stat().st_mtime - age_s,) * 2)
    sweep(opened)
    assert [file.exists() for file in (lone, half)] == [age_s == 0.0] * 2
    assert all(file.exists() for file in others)


@pytest.fixture(params=["ENOLCK", "EOPNOTSUPP", "ENOSYS", "EINVAL", "EIO", "ENOSPC", "EDQUOT", "EROFS"])
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """A file system whose `flock` answers so."""
    number: int = getattr(errno, request.param)

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    return number


@pytest.mark.attack("1.9")
def test_without_locks_it_goes_on_with_a_warning(opened: Store, no_locks: int) -> None:
    with ExitStack() as both:
        warnings = [both.enter_context(opened.locked()) for _ in range(2)]
    assert all(warning and os.strerror(no_locks) in warning and "\n" not in warning for warning in warnings)


def test_with_locks_a_second_sweep_is_kept_out(opened: Store) -> None:
    with opened.locked() as warning:
        assert warning is None
        with pytest.raises(UserError, match="another sweep"), opened.locked():
            pytest.fail("it is held")
    sweep(opened)


@pytest.mark.attack("1.24")
def test_a_lock_that_cannot_be_opened(opened: Store) -> None:
    (opened.folder / ".lock").mkdir()
    with opened.locked() as warning:
        assert warning is not None
