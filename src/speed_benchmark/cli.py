"""The command line: what to measure, measure it, report it."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speed_benchmark.cell import MAX_TOKENS
from speed_benchmark.errors import UserError
from speed_benchmark.report.words import AnyFormat, Format, Language, SpeedDefinition, TextFormat
from speed_benchmark.run.interrupt import stoppable
from speed_benchmark.terminal import one_line, output, replace_unknown, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from speed_benchmark.run.policy import Policy
    from speed_benchmark.run.stored import Stored
    from speed_benchmark.run.suite import Suite


def run_cells(suite: str | None = None, **given: Any) -> int:  # noqa: ANN401 - all flags
    """Measure what is missing of the cells asked for, and print their table; returns the exit status."""
    from speed_benchmark.run.limits import Limits
    from speed_benchmark.run.plan import build, plan
    from speed_benchmark.run.policy import Policy

    asked = _asked(suite, given)
    policy, limits, groups = build(Policy, asked.settings), build(Limits, asked.settings), plan(asked)

    # What only a run needs comes after what can be refused, so that a refusal is quick.
    from contextlib import nullcontext

    from speed_benchmark.record.format import DamagedRecordError
    from speed_benchmark.record.store import Store, StoreError
    from speed_benchmark.run.interrupt import Interrupt
    from speed_benchmark.run.observer import NullObserver
    from speed_benchmark.run.original import row
    from speed_benchmark.run.progress import Display
    from speed_benchmark.run.sweep import run_sweep

    store = Store(asked.outputs_dir, row=row)
    store.open()
    alone = nullcontext() if policy.retry == "all" else store.locked()
    with alone as warning, Interrupt() as interrupt, NullObserver() if given.get("quiet") else Display() as observer:
        if warning:
            observer.said(warning)
        try:
            stored = run_sweep(groups, store, policy, limits, observer, interrupt)
        except StoreError as error:
            return _complain(str(error), status=1)
    try:
        _print_stored(stored, as_json=bool(given.get("json")))
    except DamagedRecordError as error:  # the folder changed under this run's hands
        return _complain(f"a record of {store.folder} can't be shown: {error}", status=1)
    if interrupt.soon:
        return _complain("interrupted; the same command goes on with what is missing", status=130)
    return _status(stored, policy)


def plan_cells(suite: str | None = None, **given: Any) -> int:  # noqa: ANN401 - all flags
    """Print what `run` would do with the same arguments; nothing is started."""
    from speed_benchmark.run.plan import build, plan
    from speed_benchmark.run.policy import Policy

    asked = _asked(suite, given)
    groups, policy = plan(asked), build(Policy, asked.settings)

    from speed_benchmark.record.store import Store
    from speed_benchmark.report.plan_table import print_plan
    from speed_benchmark.run.progress import Display
    from speed_benchmark.run.resume import survey

    store = Store(asked.outputs_dir)
    with Display() as display:  # weights may have to be hashed
        found = survey(groups, store, policy, display.fetching)
    print_plan(groups, found, policy.rounds)
    return 0


def synthesize(
    model: Annotated[str, typer.Argument(help="id of a published model, or a folder with a config.json")],
    out: Annotated[Path | None, typer.Option("--out", help="folder to write to; the user's cache without it")] = None,
) -> int:
    """Make a checkpoint of a model's true shape with made-up weights, and print its folder."""
    from functools import partial

    from speed_benchmark.models import source, synthetic
    from speed_benchmark.models.shapes.asked import ShapeError
    from speed_benchmark.run.progress import Display

    config, generation_config = source.shape(model)
    try:
        with Display() as display:
            show = partial(display.fetching, "making weights")
            if out is None:
                folder = synthetic.cached(config, generation_config, on_progress=show)
            else:
                folder = synthetic.synthesize(config, generation_config, out, on_progress=show)
    except synthetic.NotEnoughDiskError as error:
        raise UserError("--out", out, str(error)) from error
    except (ShapeError, ValueError) as error:
        raise UserError("MODEL", model, str(error)) from error
    except OSError as error:
        cure = f"can't be written ({error.strerror or error}); name another folder"
        raise UserError("--out" if out else "XDG_CACHE_HOME", out, cure) from error
    say(str(folder))
    return 0


def machine(
    gpus: Annotated[str | None, typer.Option("--gpus", help="GPUs to look at; all visible, else the CPU")] = None,
    again: Annotated[bool, typer.Option("--again", help="measure the peaks again")] = False,
    json: Annotated[bool, typer.Option("--json", help="print it as JSON")] = False,
) -> int:
    """Show this machine, and the peak memory bandwidth and FLOP/s that it was measured to reach."""
    from speed_benchmark.report.inventory import print_inventory, take
    from speed_benchmark.run.plan import parse_gpus

    print_inventory(take(parse_gpus(gpus), again=again), as_json=json)
    return 0


def verify(paths: Annotated[list[Path], typer.Argument(help="records, or folders of them")]) -> int:
    """Recompute hashes and judgements of stored records; ends in 1 where a file was changed."""
    from speed_benchmark.report.soundness import print_verified

    return print_verified(paths)


Folders = Annotated[list[Path], typer.Argument(help="folders of records")]
Lang = Annotated[Language, typer.Option("--lang", help="language of the text")]
Speed = Annotated[SpeedDefinition, typer.Option("--speed", help="whose definition of speed")]
Out = Annotated[Path | None, typer.Option("--out", help="file to write to; standard output without it")]
Plots = Annotated[Path | None, typer.Option("--plots", help="folder for the charts as PNG and SVG")]
Form = Annotated[TextFormat, typer.Option("--format", help="how to write it")]
PageForm = Annotated[Format, typer.Option("--format", help="how to write it")]
SampleForm = Annotated[AnyFormat, typer.Option("--format", help="how to write it; jsonl and parquet hold all samples")]

AcrossMachines = Annotated[
    bool, typer.Option("--across_machines", "--across-machines", help="compare unlike machines too")
]
AcrossProtocols = Annotated[
    bool, typer.Option("--across_protocols", "--across-protocols", help="compare unlike protocols too")
]
Threshold = Annotated[str, typer.Option("--threshold", help="change of speed that counts as none")]


def fits(
    model: Annotated[str, typer.Argument(help="id of a model that is known here, or a folder with a config.json")],
    gpu: Annotated[
        str | None, typer.Option("--gpu", help="card, like H100, or its memory, like 24GiB; this machine without it")
    ] = None,
    context_length: Annotated[
        int | None,
        typer.Option("--context_length", "--context-length", min=1, max=MAX_TOKENS, help="input tokens of a sequence"),
    ] = None,
    form: Form = "text",
    lang: Lang = "en",
) -> int:
    """Does a model fit, on how many GPUs, in which format, and about how fast; nothing is measured."""
    from speed_benchmark.report.fits import show_fits

    return show_fits(model, gpu, context_length, form, lang)


def report(
    paths: Folders,
    form: SampleForm = "text",
    lang: Lang = "en",
    speed: Speed = "qwen2.5",
    out: Out = None,
    plots: Plots = None,
) -> int:
    """Report stored records: tables, a page, or data for other programs."""
    from speed_benchmark.report import verbs

    return verbs.report(paths, form, lang, speed, out, plots)


def compare(
    before: Annotated[Path, typer.Argument(help="folder of records")],
    after: Annotated[Path, typer.Argument(help="folder of records")],
    form: Form = "text",
    lang: Lang = "en",
    speed: Speed = "qwen2.5",
    across_machines: AcrossMachines = False,
    across_protocols: AcrossProtocols = False,
    threshold: Threshold = "1%",
    out: Out = None,
) -> int:
    """Compare two folders of records: ratios of speed with their confidence intervals."""
    from speed_benchmark.report import verbs

    across = verbs.across(machines=across_machines, protocols=across_protocols)
    return verbs.compare(before, after, form, lang, speed, across, threshold, out)


def gate(
    new: Annotated[Path, typer.Argument(help="folder of records")],
    baseline: Annotated[Path, typer.Option("--baseline", help="folder of records to hold them against")],
    max_regression: Annotated[
        str, typer.Option("--max_regression", "--max-regression", help="loss of speed that is let pass")
    ] = "3%",
    form: Form = "text",
    lang: Lang = "en",
    speed: Speed = "qwen2.5",
    across_machines: AcrossMachines = False,
    across_protocols: AcrossProtocols = False,
    threshold: Threshold = "1%",
    out: Out = None,
) -> int:
    """Compare, and decide each cell of the baseline.

    Exit status 0: none lost more speed than is let pass. 1: one did, no longer runs, or is missing. 3: one could not be
    decided, for its interval reaches across what is let pass, it has none, or it could not be compared; the commands
    that decide it are printed. 2: the command line is wrong.
    """
    from speed_benchmark.report import verbs

    across = verbs.across(machines=across_machines, protocols=across_protocols)
    return verbs.gate(new, baseline, max_regression, form, lang, speed, across, threshold, out)


def reference(
    paths: Folders,
    page: Annotated[SpeedDefinition, typer.Option("--report", help="whose published figures")] = "qwen2.5",
    form: PageForm = "text",
    lang: Lang = "en",
    out: Out = None,
    plots: Plots = None,
) -> int:
    """Lay stored records beside the published figures of Qwen2.5 on A100, or of Qwen3 on H20."""
    from speed_benchmark.report import verbs

    return verbs.reference(paths, page, form, lang, out, plots)


def script(engine: str) -> None:
    """The command line of one of the report's scripts: `speed-benchmark run` for one engine."""
    from speed_benchmark import flags

    single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    single.command(help=f"Measure how fast {engine} generates, and in how much memory.")(
        flags.command(run_cells, engine)
    )
    sys.exit(stoppable(lambda: _invoke(single)))


def main() -> int:
    """The `speed-benchmark` command; returns its exit status."""
    return _invoke(_application())


# Verb -> what it does, and what the list of verbs says of it.
VERBS: dict[str, tuple[Callable[..., int], str]] = {
    "run": (run_cells, "Measure one cell or a whole suite."),
    "plan": (plan_cells, "What run would do; nothing is started."),
    "fits": (fits, "Does a model fit, and how fast?"),
    "synthesize": (synthesize, "Make a checkpoint with made-up weights."),
    "machine": (machine, "This machine's measured limits."),
    "verify": (verify, "Are stored records sound?"),
    "report": (report, "Tables, a page, or data of stored records."),
    "compare": (compare, "Ratios of speed between two folders."),
    "gate": (gate, "Fail on a regression, for CI."),
    "reference": (reference, "Beside the published figures of Qwen2.5 or Qwen3."),
}
# The help of verbs whose flags are drawn from the fields.
DRAWN = {
    "run": "Measure one cell or a whole suite; what is there already is not measured again.",
    "plan": "What run would do: cells, loads, memory, GPUs, time; nothing is started.",
}


def _application() -> typer.Typer:
    application = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"default_map": {"help": False}},  # else Typer imports pydantic to see that None is no flag
        help="How fast, and in how much memory, a language model runs on this machine.",
    )
    for verb, (do, short_help) in VERBS.items():
        call = _with_flags(verb, do) if verb in DRAWN else do
        application.command(verb, help=DRAWN.get(verb, do.__doc__), short_help=short_help)(call)
    return application


def _with_flags(verb: str, do: Callable[..., int]) -> Callable[..., int]:
    """`do` with the flags of all engines, which are looked for only where the verb is in the command line."""
    if verb not in sys.argv:
        return lambda: 0

    from speed_benchmark import flags

    return flags.command(do)


def _invoke(application: typer.Typer) -> int:
    """Run a command; a user's mistake is one line on standard error and status 2."""
    replace_unknown()
    try:
        status = application(standalone_mode=False)
    except UserError as error:
        return _complain(f"error: {error}", status=2)
    except typer.TyperException as error:
        return _complain(f"error: {one_line(error.format_message())}", status=2)
    return status if isinstance(status, int) else 0


def _asked(suite: str | None, given: dict[str, Any]) -> "Suite":
    """What the flags and the suite ask for together."""
    from speed_benchmark.run.suite import combine, find

    return combine(find(suite) if suite else None, given)


def _print_stored(stored: "Sequence[Stored]", *, as_json: bool) -> None:
    """The records of a run: their files as they are, or a table."""
    from speed_benchmark.record.folder import content_of
    from speed_benchmark.report.tables import print_run

    if as_json:
        for content in (content_of(one.path) for one in stored):
            with output() as file:
                file.write(content)
    elif stored:
        print_run(stored)


def _status(stored: "Sequence[Stored]", policy: "Policy") -> int:
    """0 where every cell ran to its end, and none has a verdict from which on a run fails."""
    refused = ("invalid", "doubtful") if policy.fail_on == "doubtful" else ("invalid",)
    return int(any(one.outcome != "ok" or one.verdict in refused for one in stored))


def _complain(text: str, *, status: int) -> int:
    say(text, error=True)
    return status
