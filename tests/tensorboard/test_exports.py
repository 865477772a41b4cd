"""Whatever can be read can be exported; where to, and what becomes of what stands there."""

import shutil
from pathlib import Path

import pytest

import tbperf
from tbperf.errors import TbperfError, TraceFormatError
from tbperf.tensorboard.exports import TARGETS, TORCH_TB, XPROF, export
from tests.draw import Timeline

ROOT = Path(__file__).parents[2]
RUN = ROOT / "sample_traces" / "tbperf" / "0.1.0" / "yolov8n-train-cpu"
DEFECTS = sorted(file for file in (ROOT / "tests" / "readers" / "defects").rglob("*") if file.is_file())


@pytest.fixture(autouse=True)
def _tensorboard():
    pytest.importorskip("tensorboard", reason="no TensorBoard (pip install 'tbperf[tensorboard]')")


def relative(files, folder):
    return sorted(str(file.relative_to(folder)) for file in files)


@pytest.mark.parametrize("trace", DEFECTS, ids=lambda file: file.name)
def test_a_trace_with_defects_is_exported_like_any_other(trace, tmp_path):
    try:
        tbperf.analyze(trace)
    except TraceFormatError:
        with pytest.raises(TraceFormatError):
            export(trace, TARGETS, tmp_path)
    else:
        assert all(file.stat().st_size for file in export(trace, TARGETS, tmp_path).written)


def test_exports_of_a_run_lie_in_its_folder_named_by_phase(tmp_path):
    run = shutil.copytree(RUN, tmp_path / "run")
    written = relative(export(run, [XPROF, TORCH_TB]).written, run)
    worker = next(Path(name).name for name in written if name.endswith(".pb"))

    assert [name for name in written if name.endswith(".pb")] == [
        f"plugins/profile/train/{worker}",
        f"plugins/profile/val-2/{worker}",
        f"plugins/profile/val/{worker}",
    ]
    assert sum(name.startswith("plugins/torch-tb-legacy/") for name in written) == 3


def test_exports_of_several_runs_to_one_folder_carry_the_runs_names(tmp_path):
    for name in ("before", "after"):
        shutil.copytree(RUN, tmp_path / "runs" / name)
    written = export(tmp_path / "runs", [XPROF], tmp_path / "out").written

    assert {"before-train", "after-train", "before-val-2"} <= {file.parent.name for file in written}


def test_exports_of_a_trace_lie_beside_it_and_are_made_once(tmp_path):
    trace = Timeline().kernel(0, 10).write(tmp_path / "a.pt.trace.json")
    first = export(trace, [XPROF])
    again = export(trace, [XPROF])

    assert relative(first.written, tmp_path) == ["plugins/profile/a/a.xplane.pb"]
    assert (again.written, again.kept) == ([], first.written)


def test_a_trace_that_changed_is_exported_beside_the_first(tmp_path):
    trace = Timeline().kernel(0, 10).write(tmp_path / "a.pt.trace.json")
    (first,) = export(trace, [XPROF]).written
    before = first.read_bytes()
    Timeline().kernel(0, 10).kernel(20, 30).write(trace)
    (second,) = export(trace, [XPROF]).written

    assert second == tmp_path / "plugins/profile/a-2/a.xplane.pb"
    assert first.read_bytes() == before


def test_ranks_of_one_folder_are_hosts_of_one_capture(tmp_path):
    job = tmp_path / "job"
    job.mkdir()
    for rank in range(2):
        Timeline().kernel(0, 10).write(job / f"rank{rank}.pt.trace.json")

    assert relative(export(job, [XPROF]).written, job) == [
        "plugins/profile/job/rank0.xplane.pb",
        "plugins/profile/job/rank1.xplane.pb",
    ]


def test_a_broken_trace_beside_others_is_a_note(tmp_path):
    Timeline().kernel(0, 10).write(tmp_path / "a.pt.trace.json")
    (tmp_path / "b.pt.trace.json").write_text("nothing")
    done = export(tmp_path, [XPROF])

    assert len(done.written) == 1
    assert len(done.notes) == 1
    assert "b.pt.trace.json" in done.notes[0]


def test_a_folder_that_cannot_be_written_gives_one_line(tmp_path):
    trace = Timeline().kernel(0, 10).write(tmp_path / "a.pt.trace.json")
    (tmp_path / "out").write_text("a file")

    with pytest.raises(TbperfError, match="not a directory") as caught:
        export(trace, [XPROF], tmp_path / "out")

    assert "--out" in caught.value.hint


def test_nothing_is_left_of_an_export_that_fails(tmp_path, monkeypatch):
    trace = Timeline().kernel(0, 10).write(tmp_path / "a.pt.trace.json")

    def breaks_off(*_arguments):
        yield b"half"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tbperf.tensorboard.exports.encode_xspace", breaks_off)
    with pytest.raises(TbperfError, match="no space left"):
        export(trace, [XPROF])

    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [trace]
