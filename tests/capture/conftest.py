"""The inside modules are loaded as the recorded program does it: from the bootstrap folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tbperf.capture.dataset import write_dataset

ROOT = Path(__file__).parents[2]
BOOTSTRAP = ROOT / "tbperf" / "capture" / "bootstrap"
sys.path.append(str(BOOTSTRAP))


@pytest.fixture(scope="session")
def workplace(tmp_path_factory):
    """Make a folder with a dataset."""
    folder = tmp_path_factory.mktemp("workplace")
    write_dataset(folder / "data", images=40, size=128)
    return folder


@pytest.fixture(scope="session")
def plain_environment(workplace):
    """Return an environment that keeps Ultralytics offline and its settings in the workplace."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("TBPERF_")},
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "YOLO_OFFLINE": "true",
        "YOLO_CONFIG_DIR": str(workplace / "config"),
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture(scope="session")
def environment(plain_environment):
    """Return the same after the first import of Ultralytics, which writes settings and says so."""
    settings = [sys.executable, "-c", "import ultralytics"]
    subprocess.run(settings, env=plain_environment, capture_output=True, check=True)
    return plain_environment


@pytest.fixture(scope="session")
def run_tbperf(workplace, plain_environment):
    """Run ``python -m tbperf`` with these arguments."""

    def run(*arguments, **kwargs):
        command = [sys.executable, "-m", "tbperf", *map(str, arguments)]
        kwargs = {"cwd": workplace, "env": plain_environment, "timeout": 900, **kwargs}
        return subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)

    return run
