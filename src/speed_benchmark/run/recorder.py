"""From a record as it was collected to one on disk: its agreement with others, its judgement, its file."""

import threading
from pathlib import Path

from speed_benchmark.judge.agreement import Answers, answer
from speed_benchmark.judge.judge import judge
from speed_benchmark.judge.judgement import Judged
from speed_benchmark.record.record import Record
from speed_benchmark.record.store import Store
from speed_benchmark.run.observer import Observer
from speed_benchmark.run.resume import answers_in
from speed_benchmark.run.stored import Stored, of_judged
from speed_benchmark.run.unfinished import Unfinished


class Recorder:
    """Stores the records of a sweep and remembers what was `stored`; sessions side by side share it.

    `answers` are the greedy answers in the store, None where nobody has looked for them yet.
    """

    def __init__(self, store: Store, observer: Observer, unfinished: Unfinished, answers: Answers | None) -> None:
        self.stored: list[Stored] = []
        self._store, self._observer, self._unfinished, self._answers = store, observer, unfinished, answers
        self._lock = threading.Lock()

    def store(self, record: Record, key: str) -> None:
        """Judge and write the record of the draft `key`. Raises StoreError where it can't be written."""
        with self._lock:
            judged, path = self._write(self._compared(record))
            self._unfinished.remove(key)
            self.stored.append(of_judged(judged, path, is_new=True))
        self._observer.stored(judged, path)

    def store_part(self, record: Record, key: str) -> None:
        """Write what is finished of the draft `key`, in case the program is killed. Raises StoreError."""
        with self._lock:
            self._unfinished.keep(key, record)

    def _write(self, record: Record) -> tuple[Judged, Path]:
        judgement = judge(record)
        sealed, path = self._store.write(record, judgement.model_dump(mode="json"))
        if self._answers is not None:
            self._answers.add(answer(sealed))
        return Judged(sealed, judgement), path

    def _compared(self, record: Record) -> Record:
        """With another engine's answer to the same question, if there is one and this answer is greedy."""
        if record.sampling is None or record.sampling.temperature > 0:
            return record
        if self._answers is None:  # that the model's own sampling is greedy shows only now
            self._answers = answers_in(self._store.folder)
        return record.model_copy(update={"agreement": self._answers.agreement(record)})
