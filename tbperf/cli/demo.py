"""``tbperf demo``: the main job on generated input, from recording to report."""

from __future__ import annotations

import shutil
import sys
import sysconfig
import time
from pathlib import Path

import click

from tbperf.cli.output import say, write_text
from tbperf.cli.record import summary_lines
from tbperf.errors import TbperfError


@click.command("demo", short_help="Record a small YOLO training and report on it: the main job, end to end.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder to write.  [runs/tbperf/demo-<time>]"
)
@click.option("--images", type=click.IntRange(16), default=128, show_default=True, help="Training images to generate.")
@click.option("--imgsz", type=click.IntRange(32), default=160, show_default=True, help="Their size in the training.")
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True, help="Images a step.")
def command(out: Path | None, images: int, imgsz: int, batch: int) -> None:
    """Generate a dataset, record one epoch of YOLOv8n on it, and report where the time went.

    Uses the GPU if there is one, else the CPU.  Nothing is downloaded.
    """
    from tbperf.capture import RecordOptions, record  # noqa: PLC0415 - only what is asked for
    from tbperf.capture.dataset import write_dataset  # noqa: PLC0415
    from tbperf.render import render_json, render_text  # noqa: PLC0415
    from tbperf.report import analyze  # noqa: PLC0415

    begun = time.monotonic()
    out = out or Path("runs", "tbperf", time.strftime("demo-%Y-%m-%d-%H%M%S"))
    if out.exists():
        raise TbperfError(f"{out}: already exists", "name a new folder with --out")
    say(f"1/3  writing {images} training images to {out / 'dataset'}")
    data = write_dataset(out / "dataset", images=images, size=max(imgsz, 320))
    say("2/3  recording a training; what follows is Ultralytics' own output")
    training = (
        f"train model=yolov8n.yaml data={data} epochs=1 imgsz={imgsz} batch={batch} plots=False close_mosaic=0"
        f" project={out.resolve() / 'ultralytics'} name=train"
    ).split()
    recording = record([_yolo(), *training], RecordOptions(out=out / "recording"), announce=say)
    for line in summary_lines(recording):
        say(line)
    if recording.exit_code or recording.folder is None or not recording.traces:
        raise TbperfError("the training left no recording", "its output above says why")
    say("3/3  analyzing the recording")
    report = analyze(recording.folder)
    report_file = out / "report.json"
    write_text(report_file, render_json(report))
    sys.stdout.write(f"\n{render_text(report, width=shutil.get_terminal_size((100, 24)).columns)}\n")
    sys.stdout.flush()
    for line in (
        f"done in {time.monotonic() - begun:.0f} s · traces: {recording.folder / 'trace'} · report: {report_file}",
        "next: tbperf record -- yolo train model=yolov8n.pt data=coco128.yaml epochs=3",
        f"      tbperf analyze {recording.folder} --top 20",
    ):
        say(line)


def _yolo() -> str:
    """Return the command of the environment that this runs in, which need not be active."""
    beside = Path(sysconfig.get_path("scripts"), "yolo")
    found = str(beside) if beside.exists() else shutil.which("yolo")
    if found is None:
        raise TbperfError("yolo: command not found", f"{sys.executable} -m pip install 'tbperf[record]'")
    return found
