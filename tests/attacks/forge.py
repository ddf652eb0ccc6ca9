"""Records that somebody changed and sealed again, as anybody can who has this program."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speed_benchmark.judge.judge import judge
from speed_benchmark.record.folder import read
from speed_benchmark.record.format import parse, seal, serialize
from speed_benchmark.record.record import Record


def with_evidence(content: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """A file whose evidence was changed byte by byte, and sealed again."""
    _, evidence, told = _parts(content)
    return b'{"record_id":"%s",%s%s' % (_identity(changed := change(evidence)), changed, told)


def forged(source: Path, target: Path, *, judged: bool = True, **changed: Any) -> Record:
    """Store the record of `source` with other fields as `target`, as this program would write it."""
    record = read(source).model_copy(update=changed)
    record = seal(record.model_copy(update={"cell_id": record.cell.cell_id}))
    told = judge(record).model_dump(mode="json") if judged else None
    target.write_bytes(serialize(record, told))
    return parse(target.read_bytes())


def _parts(content: bytes) -> tuple[bytes, bytes, bytes]:
    """What stands before the evidence, the evidence without its braces, and what follows it."""
    found = re.fullmatch(rb'(\{"record_id":"[^"]*",)(.*?)((?:,"judgement":\{.*\})?\}\n)', content, re.DOTALL)
    assert found
    return found[1], found[2], found[3]


def _identity(evidence: bytes) -> bytes:
    return b"sha256:" + hashlib.sha256(b"{" + evidence + b"}").hexdigest().encode()
