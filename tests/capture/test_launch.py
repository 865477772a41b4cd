"""The outside: the command is the user's, and nothing that he can see of it changes."""

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tbperf.capture import CommandNotFoundError, RecordOptions, record
from tbperf.capture.folder import compress_traces, create_folder, read_lines
from tbperf.capture.summary import stage_coverage, summarize_steps


def python(code):
    return [sys.executable, "-c", code]


def run_json(folder):
    return json.loads((folder / "run.json").read_text())


def test_output_input_and_exit_code_are_the_commands_own(run_tbperf, tmp_path):
    code = "import sys; print(input()); print('error', file=sys.stderr); sys.exit(7)"
    result = run_tbperf("record", "--out", tmp_path / "run", "--", *python(code), input="typed\n")
    assert result.returncode == 7
    assert result.stdout == "typed\n"
    first, theirs, *rest = result.stderr.splitlines()
    assert first.startswith("tbperf  records 8 steps of training, 3 of validation, 5 of prediction · ")
    assert theirs == "error"
    assert all(line.startswith("tbperf  ") for line in rest)


def test_a_run_without_ultralytics_says_what_it_did_not_reach(tmp_path):
    recording = record(python("pass"), RecordOptions(out=tmp_path / "run"))
    assert recording.notes == ("the command ran Python, but did not import the engine of Ultralytics",)
    content = run_json(recording.folder)
    assert (content["status"], content["exit_code"], content["windows"]) == ("ended", 0, [])


def test_a_command_that_ignores_our_environment_is_told_so(tmp_path):
    recording = record([sys.executable, "-I", "-c", "pass"], RecordOptions(out=tmp_path / "run"))
    assert recording.notes[0].startswith("the command was never reached")


def test_an_unknown_command_ends_like_in_a_shell(run_tbperf, tmp_path):
    result = run_tbperf("record", "--out", tmp_path / "run", "--", "no-such-command")
    assert result.returncode == 127
    assert result.stderr.splitlines()[0] == "tbperf: no-such-command: command not found"
    assert not (tmp_path / "run").exists()
    with pytest.raises(CommandNotFoundError):
        record([])


def test_a_folder_that_cannot_be_written_does_not_stop_the_command(tmp_path):
    (tmp_path / "file").write_text("")
    said = []
    recording = record(python("exit(5)"), RecordOptions(out=tmp_path / "file" / "run"), said.append)
    assert (recording.exit_code, recording.folder) == (5, None)
    assert said[0].startswith("not recording: ")


def test_a_folder_that_vanishes_meanwhile_does_not_change_the_exit_code(tmp_path):
    out = tmp_path / "run"
    recording = record(python(f"import shutil; shutil.rmtree({str(out)!r}); exit(6)"), RecordOptions(out=out))
    assert recording.exit_code == 6
    assert recording.notes[0].startswith("the recording is not complete")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_reaches_the_command_and_the_folder_is_finished(number, plain_environment, tmp_path):
    code = (
        "import signal, sys, time\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(40))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    command = [
        sys.executable,
        "-m",
        "tbperf",
        "record",
        "--out",
        str(tmp_path / "run"),
        "--",
        *python(code),
    ]
    with subprocess.Popen(command, env=plain_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode == 40
    assert run_json(tmp_path / "run")["exit_code"] == 40


def test_a_command_killed_by_a_signal_has_a_shells_exit_code(tmp_path):
    recording = record(python("import os; os.kill(os.getpid(), 9)"), RecordOptions(out=tmp_path / "run"))
    assert recording.exit_code == 128 + 9


def test_signals_are_not_blocked_in_the_command_nor_afterwards(tmp_path):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    code = "import signal; exit(len(signal.pthread_sigmask(signal.SIG_BLOCK, [])))"
    assert record(python(code), RecordOptions(out=tmp_path / "run")).exit_code == len(before)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_a_library_call_from_another_thread_works(tmp_path):
    results = []
    options = RecordOptions(out=tmp_path / "run")
    thread = threading.Thread(target=lambda: results.append(record(python("exit(3)"), options)))
    thread.start()
    thread.join(timeout=30)
    assert results[0].exit_code == 3


def test_a_recorder_that_is_killed_leaves_a_readable_folder(plain_environment, tmp_path):
    command = [sys.executable, "-m", "tbperf", "record", "--out", str(tmp_path / "run"), "--"]
    code = "print('ready', flush=True); input()"
    with subprocess.Popen(
        [*command, *python(code)],
        env=plain_environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        process.kill()
        process.communicate(timeout=30)
    content = run_json(tmp_path / "run")
    assert (content["schema"], content["status"], content["exit_code"]) == (
        "tbperf-run/1",
        "running",
        None,
    )


def test_nothing_of_the_environment_is_told_but_an_allow_list(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    folder = record(python("pass"), RecordOptions(out=tmp_path / "run")).folder
    assert run_json(folder)["environment"]["OMP_NUM_THREADS"] == "2"
    assert not any("s3cret" in path.read_text() for path in folder.rglob("*") if path.is_file())


def test_a_folder_is_never_written_twice(tmp_path):
    out = tmp_path / "run"
    assert [create_folder(out).name for _ in range(3)] == ["run", "run-2", "run-3"]


def test_half_a_trace_is_never_taken_for_a_whole_one(tmp_path):
    folder = create_folder(tmp_path / "run")
    (folder / "trace" / "h_1.5.pt.trace.json").write_text("whole")
    (folder / "trace" / "h_1.6.pt.trace.json.part").write_text("ha")
    (trace,) = compress_traces(folder)
    assert trace.name == "h_1.5.pt.trace.json.gz"
    assert gzip.decompress(trace.read_bytes()) == b"whole"
    assert list((folder / "trace").iterdir()) == [trace]


def test_lines_are_read_up_to_one_that_was_cut(tmp_path):
    path = tmp_path / "steps.1.jsonl"
    path.write_text('{"step": 0}\n{"step": 1}\n{"st')
    assert [row["step"] for row in read_lines(path)] == [0, 1]


def step(number, dur_ns, profiler="off"):
    stages = {"forward": dur_ns - 10, "loop": 10}
    return {
        "phase": "train",
        "step": number,
        "dur_ns": dur_ns,
        "stages": stages,
        "profiler": profiler,
        "recorder_ns": 1,
    }


def test_the_slowdown_compares_recorded_steps_with_warm_ones_that_are_not():
    cold = [step(number, 900) for number in range(3)]
    warm = [step(number, 100) for number in range(3, 8)]
    other = [step(8, 500, "warmup")]
    profiled = [step(number, 110, "active") for number in range(9, 12)]
    train = summarize_steps(cold + warm + other + profiled)["train"]
    assert train["slowdown"] == pytest.approx(1.1)
    assert train["unprofiled"] == {
        "count": 5,
        "median_dur_ns": 100,
        "mean_dur_ns": 100,
        "stages_mean_ns": {"forward": 90, "loop": 10},
    }
    assert train["profiled"]["count"] == 3
    assert train["steps"] == 12


def test_few_steps_say_nothing_about_the_slowdown():
    steps = [step(5, 100), step(6, 100), *(step(number, 110, "active") for number in range(7, 12))]
    assert summarize_steps(steps)["train"]["slowdown"] is None


def test_coverage_is_the_share_of_a_step_under_the_union_of_its_stages(tmp_path):
    def event(name, ts, dur):
        return {
            "ph": "X",
            "cat": "user_annotation",
            "name": name,
            "pid": 1,
            "tid": 1,
            "ts": ts,
            "dur": dur,
        }

    events = [
        event("ProfilerStep#4", 100.0, 100.0),
        event("tbperf/validate", 0.0, 50.0),
        event("tbperf/optimizer", 100.0, 60.0),
        event("tbperf/ema", 120.0, 20.0),
        event("aten::add", 160.0, 40.0),
        event("tbperf/log", 170.0, 50.0),
        event("tbperf/module:model.0 Conv (backbone)", 155.0, 10.0),
    ]
    path = tmp_path / "trace.gz"
    path.write_bytes(gzip.compress(json.dumps({"traceEvents": events}).encode()))
    assert stage_coverage(path) == [pytest.approx(0.9)]


def test_steps_are_parsed_and_refused_with_a_reason(run_tbperf):
    for wrong in ("5-3", "x", "-4"):
        result = run_tbperf("record", f"--steps={wrong}", "--", "true")
        assert result.returncode == 2
        assert "steps" in result.stderr


def test_the_recorder_outlives_a_command_that_takes_its_time_to_end(plain_environment, tmp_path):
    code = (
        "import time\n"
        "print('ready', flush=True)\n"
        "try:\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    time.sleep(0.5)\n    print('saved', flush=True)\n"
        "    exit(9)"
    )
    command = [
        sys.executable,
        "-m",
        "tbperf",
        "record",
        "--out",
        str(tmp_path / "run"),
        "--",
        *python(code),
    ]
    with subprocess.Popen(
        command,
        env=plain_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    assert (output, process.returncode) == (b"saved\n", 9)


def stand_in(folder, **modules):
    """Write a package that calls itself ultralytics."""
    (folder / "ultralytics" / "engine").mkdir(parents=True)
    for package in ("ultralytics", "ultralytics/engine"):
        (folder / package / "__init__.py").write_text("")
    for name, code in modules.items():
        (folder / "ultralytics" / "engine" / f"{name}.py").write_text(code)
    (folder / "torch.py").write_text("raise ImportError('no torch here')")


def test_names_that_a_version_lacks_are_noted_and_the_program_runs(run_tbperf, plain_environment, tmp_path):
    stand_in(tmp_path, trainer="class Trainer: pass", validator="class BaseValidator: pass", predictor="")
    code = "import ultralytics.engine.trainer, ultralytics.engine.validator, ultralytics.engine.predictor; exit(3)"
    inside = plain_environment | {"PYTHONPATH": f"{plain_environment['PYTHONPATH']}{os.pathsep}{tmp_path}"}
    result = run_tbperf("record", "--out", tmp_path / "run", "--", *python(code), env=inside)
    assert result.returncode == 3
    notes = run_json(tmp_path / "run")["notes"]
    lacking = "not found in this version, and not recorded: ultralytics.engine."
    for name in ("trainer.BaseTrainer._do_train", "validator.BaseValidator.run_callbacks", "predictor.BasePredictor"):
        assert any(note.startswith(lacking + name) for note in notes), (name, notes)
    assert not any("stopped" in note for note in notes)


def test_without_torch_the_program_runs_and_the_reason_is_told_once(run_tbperf, plain_environment, tmp_path):
    predictor = (
        "import types\n"
        "class BasePredictor:\n"
        "    args, dataset, model = types.SimpleNamespace(mode='predict'), [], None\n"
        "    def stream_inference(self):\n"
        "        self.run_callbacks('on_predict_start')\n        yield 1\n        yield 2\n"
        "    def run_callbacks(self, event):\n        pass\n"
    )
    stand_in(tmp_path, predictor=predictor)
    twice = "print(*P().stream_inference(), *P().stream_inference())"
    code = f"from ultralytics.engine.predictor import BasePredictor as P; {twice}"
    inside = plain_environment | {"PYTHONPATH": f"{plain_environment['PYTHONPATH']}{os.pathsep}{tmp_path}"}
    result = run_tbperf("record", "--out", tmp_path / "run", "--", *python(code), env=inside)
    assert (result.returncode, result.stdout) == (0, "1 2 1 2\n")
    assert result.stderr.count("tbperf: recording stopped, the run goes on: ImportError('no torch here')") == 1
