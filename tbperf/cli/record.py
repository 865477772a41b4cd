"""``tbperf record``: run a command with the recorder inside it."""

from __future__ import annotations

import re
from pathlib import Path

import click

from tbperf.capture import NoProcessError, Recording, RecordOptions, run_in_place
from tbperf.capture import record as record_command
from tbperf.cli.interrupts import EndedError, die_by, ending_signals
from tbperf.cli.output import say


def _parse_steps(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Parse ``100-110``, both included, or ``100`` alone."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is not a range of steps such as 100-110")
    first, last = int(found[1]), int(found[2] or found[1])
    if last < first:
        raise click.BadParameter(f"{value!r} ends before it begins")
    return first, last


@click.command(
    "record",
    context_settings={"allow_interspersed_args": False},
    short_help="Run a YOLO command and record where its time goes.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder to write.  [runs/tbperf/<time>]",
)
@click.option(
    "--wait",
    type=click.IntRange(0),
    metavar="N",
    help="Steps to skip before a window.  [a warm, steady run]",
)
@click.option(
    "--warmup",
    type=click.IntRange(0),
    metavar="N",
    default=1,
    show_default=True,
    help="Steps to warm up.",
)
@click.option(
    "--active",
    type=click.IntRange(1),
    metavar="N",
    help="Steps to record.  [8 train, 3 val, 5 predict]",
)
@click.option(
    "--repeat",
    type=click.IntRange(1),
    metavar="N",
    default=1,
    show_default=True,
    help="Windows to record.",
)
@click.option("--gap", type=click.IntRange(0), metavar="N", default=0, help="Steps from one window to the next.")
@click.option(
    "--steps",
    callback=_parse_steps,
    metavar="A-B",
    help="Record these steps instead, such as 100-110.",
)
@click.option("--stacks", is_flag=True, help="With call stacks (larger, slower).")
@click.option("--shapes", is_flag=True, help="With the shapes of the operators' inputs.")
@click.option("--memory", is_flag=True, help="With allocations.")
@click.option("--flops", is_flag=True, help="With estimated arithmetic.")
@click.option(
    "--modules",
    flag_value="every",
    default="layers",
    help="With calls of every module, not only of the model's layers.",
)
@click.option(
    "--no-modules", "modules", flag_value="none", help="Without calls of layers, which cost 1 ms a step or two."
)
@click.option(
    "--max-bytes",
    type=click.IntRange(1),
    metavar="N",
    default=1_000_000_000,
    show_default=True,
    help="Stop recording beyond so many bytes of traces.",
)
@click.option("--nsys", is_flag=True, help="Record one window with Nsight Systems instead.")
@click.option("--nsys-report", is_flag=True, help="Keep Nsight's own report, too; it holds the environment.")
@click.option("--tensorboard", is_flag=True, help="Write what TensorBoard's dashboards need, too.")
@click.argument("cmd", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def command(context: click.Context, /, cmd: tuple[str, ...], *, tensorboard: bool, **options: object) -> None:
    r"""Run CMD as it is, and record what it trains, validates and predicts.

    The command's output, exit code and results stay its own.

    \b
    Example:
      tbperf record -- yolo train model=yolov8n.yaml data=coco8.yaml epochs=3
    """
    with ending_signals():
        try:
            recording = record_command(cmd, RecordOptions(**options), announce=say)  # type: ignore[arg-type]
        except NoProcessError as error:
            say(f"not recording: {error.message}")
            run_in_place(cmd)
        except EndedError as ended:  # before there was a command
            die_by(ended.number)
        try:
            _tell(recording, tensorboard=tensorboard)
        except EndedError:
            pass
        except Exception as error:  # noqa: BLE001 - the end of the command is what counts
            say(f"note: the summary is not complete: {error!r}")
    if recording.signal is not None:
        die_by(recording.signal)
    context.exit(recording.exit_code)


def _tell(recording: Recording, *, tensorboard: bool) -> None:
    for line in summary_lines(recording):
        say(line)
    if tensorboard and recording.traces and recording.folder is not None:
        for line in _export_for_tensorboard(recording.folder):
            say(line)


def _export_for_tensorboard(folder: Path) -> list[str]:
    """Export a recording and say so; whatever fails, the exit code stays that of the command."""
    from tbperf.cli.export import lines_about  # noqa: PLC0415 - only where it is asked for
    from tbperf.tensorboard.exports import TENSORBOARD, XPROF, export  # noqa: PLC0415

    try:
        done = export(folder, [XPROF, TENSORBOARD])
    except Exception as error:  # noqa: BLE001
        return [f"note: nothing written for TensorBoard: {error}"]
    return [*lines_about(done), f"next: tbperf tensorboard {folder}"]


def summary_lines(recording: Recording) -> list[str]:
    """Say what was recorded and what to do with it."""
    lines = [f"note: {note}" for note in recording.notes]
    if recording.recorded_steps:
        facts = [_steps(recording), *_slowdowns(recording), f"{recording.size_bytes / 1e6:.1f} MB"]
        lines.append(" · ".join(facts))
        lines.append(f"next: tbperf analyze {recording.folder}")
    elif recording.folder is not None:
        lines.append(f"nothing recorded · {recording.folder}")
    return lines


def _steps(recording: Recording) -> str:
    text = f"{recording.recorded_steps} of {recording.planned_steps} steps recorded"
    # Rounded down: 99.96 is not 100.
    return text if recording.coverage is None else f"{text}, {int(recording.coverage * 1000) / 10} % of each named"


def _slowdowns(recording: Recording) -> list[str]:
    names = {"train": "training", "val": "validation", "predict": "prediction"}
    slower = {phase: round(100 * (ratio - 1)) for phase, ratio in recording.slowdown.items()}
    return [
        f"profiled {names[phase]} steps ran " + (f"{percent} % slower" if percent > 0 else "no slower")
        for phase, percent in slower.items()
    ]
