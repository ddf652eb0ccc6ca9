"""Reading folders of records: what is there, and what is not."""

import os
from pathlib import Path

import pytest

from speed_benchmark.record.folder import read, record_files, records
from speed_benchmark.record.format import DamagedRecordError, NoRecordError


def test_a_folder_that_is_not_there_has_no_records(tmp_path: Path) -> None:
    assert not list(record_files(tmp_path / "none"))
    assert not list(records(tmp_path / "none"))


def test_files_come_in_order_and_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    for name in ("b/2.json", "a/9.json", "a/1.json", "a/1.csv", "1.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    found = [path.relative_to(tmp_path).as_posix() for path in record_files(tmp_path)]
    assert found == ["1.json", "a/1.json", "a/9.json", "b/2.json"]


@pytest.mark.parametrize("content", [b"", bytes(1000), b'{"name": "p"}', b"[" * 1000])
def test_a_file_that_is_named_as_records_are_has_lost_its_content(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "package.json").write_bytes(content)
    with pytest.raises(NoRecordError, match="it is no record"):
        read(tmp_path / "package.json")
    (tmp_path / "m_context_length-5_0102030405_6c5292f6.json").write_bytes(content)
    with pytest.raises(DamagedRecordError, match="it is no whole record"):
        read(tmp_path / "m_context_length-5_0102030405_6c5292f6.json")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(NoRecordError, match="no regular file"):
        read(tmp_path / "pipe.json")
