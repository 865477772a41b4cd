"""Whatever fails in the recorder, and whatever cannot be written: the run is the same run.

faults/run_with_faults.py makes its list from the hooks and methods that a run reaches, and forks a child for each.
A part of the list is run here; all of it with ``TBPERF_FAULTS=1/1`` (minutes).
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tbperf.capture import RecordOptions
from tbperf.capture.dataset import write_dataset
from tbperf.capture.launch import recording_environment

pytestmark = pytest.mark.record

HERE = Path(__file__).parent / "faults"
BOOTSTRAP = Path(__file__).parents[2] / "tbperf" / "capture" / "bootstrap"
PART = os.environ.get("TBPERF_FAULTS", "5/12")


def run(folder, data, environment, *part):
    folder.mkdir()
    shutil.copy(HERE / "tiny.yaml", folder)
    command = [sys.executable, HERE / "run_with_faults.py", folder, data, *part]
    subprocess.run(command, env=environment, check=True, capture_output=True, cwd=folder)
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def outcomes(environment, tmp_path_factory):
    place = tmp_path_factory.mktemp("faults")
    data = write_dataset(place / "data", images=12, size=48)
    (alone,) = run(place / "alone", data, environment | {"PYTHONPATH": str(HERE)})
    recorded = recording_environment(place / "run", RecordOptions(shapes=True, memory=True, modules="every"))
    inside = environment | {
        "TBPERF_CAPTURE": recorded["TBPERF_CAPTURE"],
        "TBPERF_BOOTSTRAP": str(BOOTSTRAP),
        "PYTHONPATH": f"{BOOTSTRAP}{os.pathsep}{HERE}",
    }
    for folder in ("journal", "trace"):
        (place / "run" / folder).mkdir(parents=True)
    return alone, run(place / "inside", data, inside, PART)


def test_a_program_with_the_recorder_inside_computes_and_leaves_the_same(outcomes):
    alone, (untouched, *_) = outcomes
    assert untouched == alone


def test_a_failure_anywhere_in_the_recorder_changes_nothing_and_is_told_once(outcomes):
    alone, (_, *faults) = outcomes
    assert len(faults) > 5
    for row in faults:
        fault = row.pop("fault")
        said = row.pop("said")
        assert row == {name: value for name, value in alone.items() if name not in {"fault", "said"}}, fault
        assert said == 1, fault


def test_a_failure_anywhere_outside_the_program_leaves_the_command_its_run_and_its_exit_code(
    plain_environment, tmp_path
):
    command = [sys.executable, HERE / "fail_outside.py", tmp_path / "run"]
    done = subprocess.run(command, env=plain_environment, check=True, capture_output=True, text=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) > 50
    for row in rows:
        assert (row["code"], row["ran"]) == (7, 1), row
        assert "Traceback" not in row["said"], row
        assert "Exception ignored" not in row["said"], row
