"""``tbperf monitor`` and ``tbperf doctor`` on the real machine."""

import os
import pty
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from tbperf.capture.doctor import Check, _gpu_work
from tbperf.cli import monitor
from tbperf.cli.doctor import lines
from tbperf.cli.monitor import command


def test_samples_are_shown_once_where_nobody_watches():
    result = CliRunner().invoke(command, ["--count", "2", "--interval", "0.1", "--pid", str(os.getpid())])
    assert result.exit_code == 0
    assert re.search(r"^cpu +\d+ % +\d+ % +\d+ %", result.output, re.MULTILINE)
    assert re.search(r"^rss +\d+\.\d\d GB", result.output, re.MULTILINE)
    assert "\x1b" not in result.output


def test_a_terminal_is_redrawn_and_ctrl_c_ends_it():
    parent, child = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "tbperf", "monitor", "--interval", "0.1"],
        stdin=child,
        stdout=child,
        stderr=child,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
    ) as process:
        os.close(child)
        seen = b""
        while seen.count(b"cpu") < 3:
            seen += os.read(parent, 4096)
        process.send_signal(2)
        try:
            while os.read(parent, 4096):
                pass
        except OSError:  # a terminal whose other side is closed
            pass
        assert process.wait(timeout=30) == 0
    os.close(parent)


def test_names_become_words_with_units():
    rows = {
        ("gpu_memory_bytes", 1): 3e9,
        ("pcie_rx_bytes_per_s", 0): 2e6,
        ("throttle_reasons", 0): 4,
        ("cpu_percent", -1): 50,
    }
    assert [monitor._title(*column) for column in rows] == [
        "GPU 1 memory",
        "GPU 0 pcie rx",
        "GPU 0 throttle reasons",
        "cpu",
    ]
    assert [monitor._amount(name, value) for (name, _), value in rows.items()] == ["3.00 GB", "2.0 MB/s", "0x4", "50 %"]
    assert monitor._course("cpu_percent", [0, 50, 100]) == "▁▅█"


@pytest.mark.record
def test_the_doctor_looks_at_this_machine():
    done = subprocess.run([sys.executable, "-m", "tbperf", "doctor"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"^ok  stages of YOLO: ultralytics [\d.]+, everything that is tapped is there$", done.stdout, re.MULTILINE
    )
    assert re.search(r"^ok  operators: torch \S+ recorded \d+ events", done.stdout, re.MULTILINE)
    for line in done.stdout.splitlines():
        assert line.startswith(("ok  ", "no  ", "    "))


def test_the_doctor_of_a_python_without_torch_says_what_to_install():
    done = subprocess.run(
        [sys.executable, "-m", "tbperf", "doctor", "--python", "/no/such/python"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no  stages of YOLO: /no/such/python: " in done.stdout
    assert "→ pip install 'tbperf[record]'" in done.stdout


def test_each_way_in_which_a_gpu_is_not_seen_has_its_remedy():
    seen = {"version": "2.14", "cuda": "13.0", "hip": None, "cuda_available": True, "kernels": 3}
    assert _gpu_work(seen) == Check(
        "work of the GPU", works=True, found="a trial on the GPU showed 3 kernels and copies"
    )
    remedies = {_gpu_work(seen | worse).remedy for worse in ({"kernels": 0}, {"cuda_available": False}, {"cuda": None})}
    assert len(remedies) == 3
    assert all(remedies)


def test_long_findings_are_wrapped_under_their_heading():
    text = lines([Check("thing", works=False, found="word " * 30, remedy="do it")], 60)
    assert text[0].startswith("no  thing: word")
    assert all(len(line) <= 60 for line in text)
    assert all(line.startswith("    ") for line in text[1:])
