"""From made-up events to drafts and records: no process, no engine."""

from collections.abc import Sequence

import pytest

from speed_benchmark.record.machine import Pace
from speed_benchmark.record.outcome import Cause, Outcome
from speed_benchmark.record.sample import Audit
from speed_benchmark.run.collector import Collector, Draft, ProtocolError
from speed_benchmark.worker import events
from tests.run.made import cell, load_done, sample, state, surroundings


def say(collector: Collector, *said: events.Event) -> list[Draft]:
    """Take in events; the drafts that the worker went through with them."""
    return [draft for event in said if (draft := collector.take(event)) is not None]


def requests(collector: Collector, index: int, repeats: int = 2) -> list[events.Event]:
    """What a worker says of one cell, but for its end."""
    of = collector.current.cell
    repeat = [
        event
        for number in range(repeats)
        for event in (
            events.Stage(name="repeat", cell=index, index=number + 1, count=repeats),
            events.Sampled(cell=index, warmup=False, sample=sample(of, 1.0 + number)),
        )
    ]
    return [events.Sampled(cell=index, warmup=True, sample=sample(of, 9.0)), *repeat]


def whole_process(collector: Collector, drafts: Sequence[Draft]) -> None:
    """A worker that does all of `drafts`."""
    collector.begin(drafts, state())
    say(collector, load_done())
    for index in range(len(drafts)):
        say(collector, *requests(collector, index), events.CellDone(cell=index))
    say(collector, events.Stage(name="close"), events.Closed())


def test_events_become_a_record() -> None:
    collector = Collector([cell(5), cell(6)])
    collector.begin(collector.drafts, state(7.0))
    say(collector, events.Stage(name="load"), load_done({"torch": "2"}))
    (draft,) = say(collector, *requests(collector, 0), events.CellDone(cell=0))
    assert draft.is_whole
    assert draft.cell == cell(5)
    record = draft.record(Outcome.OK, None, surroundings(100.0, packages={"torch": "2"}))
    assert [one.duration_s for one in record.samples] == [1.0, 2.0]
    assert [one.duration_s for one in record.warmups] == [9.0]
    assert (record.cell_id, record.outcome, record.load_s) == (cell(5).cell_id, Outcome.OK, 1.0)
    assert (record.machine_before.unix_s, record.machine_after.unix_s) == (7.0, 100.0)
    assert record.created_at == "1970-01-01T00:01:40+00:00"
    assert collector.current.cell == cell(6), "the next one's turn has come"


def test_what_is_in_a_record_is_let_go() -> None:
    """A load of thousands of cells must not hold them all until its worker ends."""
    collector = Collector([cell(5), cell(6)])
    first, _ = collector.drafts
    collector.begin(collector.drafts, state())
    say(collector, load_done(), *requests(collector, 0), events.CellDone(cell=0))
    collector.remove(first)
    assert (first.warmups, first.samples) == ([], [])
    assert collector.current.cell == cell(6)


def test_prompt_audit_and_profile_are_noted() -> None:
    from speed_benchmark.record.engine import Sampling
    from speed_benchmark.record.record import Profile

    collector = Collector([cell()])
    collector.begin(collector.drafts, state())
    audit, profile = Audit(repeated_s=(1.0,), distinct_s=(2.0,)), Profile(device_busy_share=0.5)
    said = (
        events.Prompted(cell=0, kind="chat", sampling=Sampling(top_k=3)),
        events.Audited(cell=0, audit=audit),
        events.Profiled(cell=0, profile=profile),
    )
    say(collector, load_done(), *said)
    draft = collector.current
    assert (draft.prompt, draft.sampling, draft.audit, draft.profile) == ("chat", Sampling(top_k=3), audit, profile)


def test_the_hosts_pace_is_kept_with_its_process() -> None:
    collector = Collector([cell(processes=2)])
    for loop_s in (1e-8, 3e-8):
        collector.begin(collector.drafts, state())
        before, after = (events.Paced(cell=0, pace=Pace(python_loop_s=time_s)) for time_s in (loop_s, 2 * loop_s))
        drafts = say(collector, load_done(), before, *requests(collector, 0), after, events.CellDone(cell=0))
    record = drafts[0].record(Outcome.OK, None, surroundings())
    assert [(pace.process, pace.python_loop_s) for pace in record.host_paces] == [
        (0, 1e-8),
        (0, 2e-8),
        (1, 3e-8),
        (1, 6e-8),
    ]


def test_finished_processes_survive_a_failure_in_a_later_one() -> None:
    """Three cells of three processes; the worker of the second process dies in the first cell."""
    collector = Collector([cell(length, processes=3) for length in (5, 6, 7)])
    whole_process(collector, collector.drafts)
    collector.begin(collector.drafts, state())
    say(collector, load_done(), *requests(collector, 0, repeats=1))
    (failed,) = collector.concerned
    record = failed.record(Outcome.CRASHED, Cause(message="died"), surroundings())
    assert [one.process for one in record.samples] == [0, 0, 1], "what it had is in its record"
    collector.remove(failed)
    assert [draft.finished for draft in collector.drafts] == [1, 1], "the others go on at their second process"
    whole_process(collector, collector.drafts)
    assert [[one.process for one in draft.samples] for draft in collector.drafts] == [[0, 0, 1, 1]] * 2
    assert not any(draft.is_whole for draft in collector.drafts)


def test_a_load_that_fails_concerns_all_and_a_request_its_own_cell() -> None:
    collector = Collector([cell(5), cell(6)])
    collector.begin(collector.drafts, state())
    assert len(collector.concerned) == 2
    say(collector, load_done())
    assert [draft.cell for draft in collector.concerned] == [cell(5)]
    say(collector, *requests(collector, 0), events.CellDone(cell=0))
    say(collector, *requests(collector, 1), events.CellDone(cell=1))
    assert collector.concerned == [], "what fails in closing concerns nobody"


def test_the_machine_before_is_that_of_the_first_process_with_samples() -> None:
    """The worker of `before` 1 dies in the first cell; for the others what counts begins with the next worker."""
    collector = Collector([cell(5), cell(6, processes=2)])
    collector.begin(collector.drafts, state(1.0))
    say(collector, load_done())
    collector.remove(collector.current)
    collector.begin(collector.drafts, state(2.0))
    say(collector, load_done(), *requests(collector, 0), events.CellDone(cell=0), events.Closed())
    collector.begin(collector.drafts, state(3.0))
    (draft,) = collector.drafts
    assert draft.before == state(2.0)


def test_interrupted_keeps_what_is_finished() -> None:
    collector = Collector([cell(processes=2)])
    collector.begin(collector.drafts, state())
    say(collector, load_done(), *requests(collector, 0))
    record = collector.current.interrupted(surroundings())
    assert record.outcome is Outcome.INTERRUPTED
    assert len(record.samples) == 2


@pytest.mark.parametrize(
    "event",
    [
        events.CellDone(cell=1),
        events.CellDone(cell=-1),
        events.Sampled(cell=7, warmup=False, sample=sample(cell())),
        events.Closed(),
    ],
    ids=["next", "negative", "unknown", "closed_too_early"],
)
def test_out_of_turn(event: events.Event) -> None:
    collector = Collector([cell(5), cell(6)])
    collector.begin(collector.drafts, state())
    say(collector, load_done())
    with pytest.raises(ProtocolError):
        collector.take(event)


def test_no_result_without_a_load() -> None:
    collector = Collector([cell(5)])
    collector.begin(collector.drafts, state())
    with pytest.raises(ProtocolError):
        collector.take(events.CellDone(cell=0))


def test_a_cell_ends_once() -> None:
    collector = Collector([cell(5), cell(6)])
    collector.begin(collector.drafts, state())
    say(collector, load_done(), *requests(collector, 0), events.CellDone(cell=0))
    with pytest.raises(ProtocolError):
        collector.take(events.CellDone(cell=0))
