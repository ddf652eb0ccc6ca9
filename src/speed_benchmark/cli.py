"""The command line: parse, plan, run, report."""

import inspect
import sys
from collections.abc import Callable, Iterable
from dataclasses import MISSING
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from speed_benchmark.cell import EngineSettings, Model, Protocol, Workload, options
from speed_benchmark.errors import UserError
from speed_benchmark.report.words import AnyFormat, Format, Language, SpeedDefinition, TextFormat
from speed_benchmark.run.limits import Limits
from speed_benchmark.run.policy import Policy

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="How fast, and in how much memory, a language model runs on this machine.",
)


def measure(engine: str | None, suite: str | None = None, **given: Any) -> int:  # noqa: ANN401 - all flags
    """Measure what is missing of the cells asked for, and print their table; returns the exit status."""
    from speed_benchmark.record.store import Store
    from speed_benchmark.run.plan import build, plan
    from speed_benchmark.run.suite import combine, find

    asked = combine(find(suite) if suite else None, given | {"engine": engine})
    policy, limits = build(Policy, asked.settings), build(Limits, asked.settings)
    loads = plan(asked)
    store = Store(asked.outputs_dir)
    store.open()

    # What only a run needs comes after all that can be refused, so that a refusal is quick.
    from contextlib import nullcontext

    from speed_benchmark.record.record import Outcome, Verdict
    from speed_benchmark.record.store import StoreError, serialize
    from speed_benchmark.report.tables import print_table
    from speed_benchmark.run.interrupt import Interrupt
    from speed_benchmark.run.progress import Display, Silence
    from speed_benchmark.run.sweep import run

    only = nullcontext() if policy.retry == "all" else store.locked()
    with only, Interrupt() as interrupt, Silence() if given.get("quiet") else Display() as display:
        try:
            stored = run(loads, store, policy, limits, display, interrupt)
        except StoreError as error:
            typer.echo(f"error: {error}", err=True)
            return 1
    if given.get("json"):
        sys.stdout.buffer.write(b"".join(serialize(record) for record, _ in stored))
    elif stored:
        print_table([record for record, _ in stored], [path for _, path in stored])
    if interrupt.soon:
        typer.echo("interrupted; the same command goes on with what is missing", err=True)
        return 130
    refused = (Verdict.INVALID, Verdict.DOUBTFUL) if policy.fail_on == "doubtful" else (Verdict.INVALID,)
    return 0 if all(record.outcome is Outcome.OK and record.verdict not in refused for record, _ in stored) else 1


def foresee(engine: str | None, suite: str | None = None, **given: Any) -> int:  # noqa: ANN401 - all flags
    """Print what `run` would do with the same arguments; nothing is started."""
    from speed_benchmark.record.store import Store
    from speed_benchmark.report.forecast import print_forecast
    from speed_benchmark.run.plan import build, plan
    from speed_benchmark.run.suite import combine, find

    asked = combine(find(suite) if suite else None, given | {"engine": engine})
    print_forecast(plan(asked), Store(asked.outputs_dir), build(Policy, asked.settings))
    return 0


def synthesize(
    model: Annotated[str, typer.Argument(help="id of a Qwen2.5 model, or a folder with a config.json")],
    out: Annotated[Path | None, typer.Option("--out", help="folder to write to; the user's cache without it")] = None,
) -> int:
    """Make a checkpoint of a model's true shape with made-up weights, and print its folder."""
    from speed_benchmark.models import source, synthetic
    from speed_benchmark.run.progress import Display

    config, generation_config = source.shape(model)
    with Display() as display:
        show = partial(display.fetching, "making weights")
        if out is None:
            folder = synthetic.cached(config, generation_config, on_progress=show)
        else:
            folder = synthetic.synthesize(config, generation_config, out, on_progress=show)
    typer.echo(folder)
    return 0


def verify(
    paths: Annotated[list[Path], typer.Argument(help="records, or folders of them")],
    rewrite: Annotated[bool, typer.Option("--rewrite", help="store again what this version judges otherwise")] = False,
) -> int:
    """Recompute statistics, findings and hashes of stored records; name those that differ, and end in 1 then."""
    from speed_benchmark.judge import verify

    bad, found = 0, list(verify.verify(paths))
    for path, wrong in found:
        if wrong:
            rewritten = rewrite and verify.rewrite(path)
            bad += not rewritten
            typer.echo(f"{path}: {wrong}" + ("; rewritten" if rewritten else ""))
    typer.echo(f"{len(found)} records, {bad} of them damaged or different")
    return 1 if bad else 0


Folders = Annotated[list[Path], typer.Argument(help="folders of records")]
Lang = Annotated[Language, typer.Option("--lang", help="language of the text")]
Speed = Annotated[SpeedDefinition, typer.Option("--speed", help="whose definition of speed")]
Out = Annotated[Path | None, typer.Option("--out", help="file to write to; standard output without it")]
Plots = Annotated[Path | None, typer.Option("--plots", help="folder for the charts as PNG and SVG")]
Form = Annotated[TextFormat, typer.Option("--format", help="how to write it")]
PageForm = Annotated[Format, typer.Option("--format", help="how to write it")]
SampleForm = Annotated[AnyFormat, typer.Option("--format", help="how to write it; jsonl and parquet hold all samples")]


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
    across_machines: Annotated[
        bool, typer.Option("--across_machines", "--across-machines", help="compare unlike machines too")
    ] = False,
    across_protocols: Annotated[
        bool, typer.Option("--across_protocols", "--across-protocols", help="compare unlike protocols too")
    ] = False,
    out: Out = None,
) -> int:
    """Compare two folders of records: ratios of speed with their confidence intervals."""
    from speed_benchmark.report import verbs

    return verbs.compare(before, after, form, lang, speed, across_machines, across_protocols, out)


def gate(
    new: Annotated[Path, typer.Argument(help="folder of records")],
    baseline: Annotated[Path, typer.Option("--baseline", help="folder of records to hold them against")],
    max_regression: Annotated[
        str, typer.Option("--max_regression", "--max-regression", help="loss of speed that is let pass")
    ] = "3%",
    form: Form = "text",
    lang: Lang = "en",
    speed: Speed = "qwen2.5",
    out: Out = None,
) -> int:
    """Compare, and end in exit status 1 where a cell lost more speed than is let pass, or no longer runs."""
    from speed_benchmark.report import verbs

    return verbs.gate(new, baseline, max_regression, form, lang, speed, out)


def reference(
    paths: Folders,
    form: PageForm = "text",
    lang: Lang = "en",
    out: Out = None,
    plots: Plots = None,
) -> int:
    """Lay stored records beside the published figures of Qwen2.5 on an A100."""
    from speed_benchmark.report import verbs

    return verbs.reference(paths, form, lang, out, plots)


def machine(
    gpus: Annotated[str | None, typer.Option("--gpus", help="GPUs to look at; all visible, else the CPU")] = None,
    again: Annotated[bool, typer.Option("--again", help="measure the rates again")] = False,
    json: Annotated[bool, typer.Option("--json", help="print it as JSON")] = False,
) -> int:
    """Show this machine, and the memory bandwidth and matrix rate that it was measured to reach."""
    from speed_benchmark.report.inventory import print_inventory, take
    from speed_benchmark.run.plan import parse_gpus

    print_inventory(take(parse_gpus(gpus), again=again), as_json=json)
    return 0


def script(engine: str) -> None:
    """The command line of one of the report's scripts: `speed-benchmark run` for one engine."""
    single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    single.command(help=f"Measure how fast {engine} generates, and in how much memory.")(_command(measure, engine))
    sys.exit(_invoke(single))


def main() -> None:
    """The `speed-benchmark` command."""
    sys.exit(_invoke(app))


def _invoke(application: typer.Typer) -> int:
    """Run a command; a user's mistake is one line on standard error and status 2."""
    try:
        status = application(standalone_mode=False)
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        return 2
    except typer.TyperException as error:
        typer.echo(f"error: {' '.join(error.format_message().split())}", err=True)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("interrupted", err=True)
        return 130
    return status if isinstance(status, int) else 0


def _command(do: Callable[..., int], engine: str | None) -> Callable[..., int]:
    """The command that does `do` for `engine` (None: one that takes --engine), its flags drawn from the fields."""

    def command(**given: Any) -> int:  # noqa: ANN401 - the values of all flags
        if engine is not None:  # the report's scripts always measure anew
            given |= {"engine": engine, "retry": "all"}
        return do(given.pop("engine"), **given)

    command.__signature__ = inspect.Signature(list(_parameters(engine)))  # type: ignore[attr-defined]
    return command


def _parameters(engine: str | None) -> Iterable[inspect.Parameter]:
    """The parameters of a command: everything is optional for one that takes suites, where a suite may give it."""
    if engine is None:
        argument = typer.Argument(help="TOML file of a suite; its keys are the flags below", show_default=False)
        annotation = Annotated[str | None, argument]
        yield inspect.Parameter("suite", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
    groups = (Model, Workload, EngineSettings, Protocol, Limits)
    for name, (annotation, option, default) in options(*groups, *([Policy] if engine is None else [])).items():
        if engine is not None and (name == "engine" or (option.engines and engine not in option.engines)):
            continue
        only = f" ({', '.join(option.engines)} only)" if option.engines and engine is None else ""
        shown = option.default if option.engines else default
        if engine is None and shown is MISSING:
            only, shown = " (required, here or in a suite)", None
        yield _parameter(name, _plain(annotation), option.help + only, shown)
    if engine is None:
        yield _parameter("exclude", list, "cells to leave out, like 'engine=vllm; context_length=6144'", None)
    gpus = "GPUs to use, as CUDA_VISIBLE_DEVICES: 0 or 0,1,2,3" + ("; auto: as few as fit" if engine is None else "")
    yield _parameter("gpus", str, gpus, "all visible, else the CPU")
    yield _parameter("outputs_dir", str, "folder for the records", f"outputs/{engine or 'ENGINE'}")
    yield _parameter("json", bool, "print the record as JSON on standard output, and nothing else there", False)
    yield _parameter("quiet", bool, "show no progress", False)


def _parameter(name: str, kind: Any, text: str, default: object) -> inspect.Parameter:  # noqa: ANN401 - a type
    """A flag in both spellings. Values are taken as text: the fields' own bounds check them, in one place."""
    spellings = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
    required = default is MISSING
    shown = "" if required or default in (None, False) else f"  [default: {default}]"
    choices = "|".join(get_args(kind)) or {int: "NUMBER", float: "NUMBER"}.get(kind, "TEXT")
    metavar = None if kind is bool else choices
    option = typer.Option(*spellings, help=text + shown, show_default=False, metavar=metavar)
    taken: Any = {bool: bool, list: list[str]}.get(kind, str)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if required else None,
        annotation=Annotated[taken if required else taken | None, option],
    )


def _plain(annotation: Any) -> Any:  # noqa: ANN401 - types in, a type out
    """The type of a field without its bounds and without None."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return annotation
    arguments = [argument for argument in get_args(annotation) if argument is not type(None)]
    return _plain(arguments[0]) if arguments else annotation


_SHORT = {
    "run": "Measure one cell or a whole suite.",
    "plan": "What run would do; nothing is started.",
    "synthesize": "Make a checkpoint with made-up weights.",
    "machine": "This machine's measured limits.",
    "verify": "Are stored records sound?",
    "report": "Tables, a page, or data of stored records.",
    "compare": "Ratios of speed between two folders.",
    "gate": "Fail on a regression, for CI.",
    "reference": "Beside the published figures of Qwen2.5.",
}
for _name, _help, _do in (
    ("run", "Measure one cell or a whole suite; what is there already is not measured again.", _command(measure, None)),
    ("plan", "What run would do: cells, loads, memory, GPUs, time; nothing is started.", _command(foresee, None)),
    *((verb.__name__, verb.__doc__, verb) for verb in (synthesize, machine, verify, report, compare, gate, reference)),
):
    app.command(_name, help=_help, short_help=_SHORT[_name])(_do)
