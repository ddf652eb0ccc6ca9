"""The tool's own measurement: its worker, followed by its parent, with the pulse and the sampler beside it.

Each request is a cell of its own: after a cell a worker waits for its parent. Between requests the sampler is stopped,
so that it disturbs nobody else. An answer also has what the parent and the sampler took of the processor.
"""

import os
import signal
import time
from collections.abc import Iterator

import psutil

from benchmarks.arms.task import WARM_UPS, Task, answers, read_task, wait_for_go
from speed_benchmark.cell import Cell, EngineSettings, Model, Protocol, Workload
from speed_benchmark.engines import registry
from speed_benchmark.machine.readings import Sampler
from speed_benchmark.run.environment import worker_environment
from speed_benchmark.run.limits import Limits
from speed_benchmark.run.process import Worker
from speed_benchmark.worker import events
from speed_benchmark.worker.pipe import Pipe, Pulse

# A sampler that goes on reads the machine anew; then it is as it was.
SETTLED_S, PULSE_S = 0.3, 3.0


def main() -> None:
    """Load, warm up, answer."""
    task, answer = read_task(), answers()
    gpus = () if task.gpu is None else (task.gpu,)
    environment = worker_environment(gpus, registry.find(task.engine).traits.environment)
    pulse_share = pulse()
    sampler = Sampler(gpus, environment)
    worker = Worker(job(task, gpus), Limits(), environment)
    try:
        steps = requests(worker, sampler)
        next(steps)  # a worker begins the first cell by itself
        for _ in range(WARM_UPS - 1):
            worker.go_on()
            next(steps)
        sampler._process.send_signal(signal.SIGSTOP)
        answer({"pulse_share": pulse_share})
        while wait_for_go():
            sampler._process.send_signal(signal.SIGCONT)
            time.sleep(SETTLED_S)
            start, parent_s, sampler_s = time.perf_counter(), time.process_time(), cpu_s(sampler)
            worker.go_on()
            said = {
                "seconds": next(steps),
                "watched_s": time.perf_counter() - start,
                "parent_s": time.process_time() - parent_s,
                "sampler_s": cpu_s(sampler) - sampler_s,
            }
            sampler._process.send_signal(signal.SIGSTOP)
            answer(said)
    finally:
        worker.end()
        sampler.end()


def job(task: Task, gpus: tuple[int, ...]) -> events.Job:
    """The same request as often as it may be asked for."""
    greedy = task.sampling["temperature"] == 0
    cell = Cell(
        model=Model(model_id_or_path=task.folder),
        workload=Workload(
            context_length=len(task.prompt),
            generate_length=task.generate_length,
            sampling="greedy" if greedy else "model",
            seed=task.seed,
        ),
        settings=EngineSettings(engine=task.engine, gpu_count=len(gpus), options=task.options),
        protocol=Protocol(repeats=1, warmups=0),
    )
    return events.Job(
        engine=task.engine, checkpoint_dir=task.folder, cells=(cell,) * (WARM_UPS + task.requests), gpus=gpus
    )


def requests(worker: Worker, sampler: Sampler) -> Iterator[float]:
    """The seconds of each request, once its cell is done; what the session of a run does is done here too."""
    seconds = 0.0
    for event in worker.events():
        if isinstance(event, events.Sampled):
            seconds = event.sample.duration_s
            sampler.readings(event.sample)
        if isinstance(event, events.CellDone):
            yield seconds


def pulse() -> float:
    """What the thread that tells the parent of tokens takes of one core."""
    nobody = os.open(os.devnull, os.O_RDWR)
    before_s = time.process_time()
    with Pulse(Pipe(nobody, nobody), [[0.0] * 1024]):
        time.sleep(PULSE_S)
    os.close(nobody)
    return (time.process_time() - before_s) / PULSE_S


def cpu_s(sampler: Sampler) -> float:
    """Processor time that the sampler has used."""
    times = psutil.Process(sampler._process.pid).cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
