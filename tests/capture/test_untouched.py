"""The recorded program cannot tell that it is recorded, but for two environment variables."""

import os
import re
import resource
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tbperf.capture import RecordOptions, record

OURS = ("PYTHONPATH", "TBPERF_CAPTURE")

LOOK = """
import sys
modules = sorted(name for name in sys.modules if name != "__mp_main__")
import os
print(sys.path, sys.argv, sys.flags, sys.orig_argv)
print([name for name in sys.path_importer_cache if os.path.basename(name) == "bootstrap"])
print(modules)
for name in ("sitecustomize", "usercustomize"):
    try:
        module = __import__(name)
        print(name, module.__file__, module.__name__, module.__spec__.origin)
    except ImportError as error:
        print(name, type(error), error)
print(1 / 0)
"""

SITES = {
    "none": None,
    "own": "import sys; print('own', __name__, __file__, sorted(sys.modules)[-3:])",
    "raises": "raise ValueError('theirs')",
    "lacks": "import no_such_module",
    "looks at itself": "import sitecustomize as own, sys; print(own is sys.modules[__name__], own.__file__)",
    "changes the path": "import sys; sys.path.append('/added')",
    "stops": "import os; print('stops', flush=True); os._exit(3)",
}


@pytest.fixture
def both(capfd, tmp_path):
    """Return a function that runs a command alone and recorded, and returns the exit code and output of each."""

    def run(command, **alone):
        done = subprocess.run(command, check=False, **{"close_fds": False, **alone})
        first = done.returncode, *capfd.readouterr()
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        recording = record(command, RecordOptions(out=tmp_path / "run"))
        code = recording.exit_code if recording.signal is None else -recording.signal
        return first, (code, *capfd.readouterr())

    return run


def program(folder, code):
    path = folder / "program.py"
    path.write_text(code)
    return str(path)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("before", [[], ["/none", "."], [""]], ids=["alone", "behind others", "behind an empty one"])
def test_the_program_s_own_sitecustomize_runs_once_and_is_its_own(both, tmp_path, monkeypatch, site, before):
    own = tmp_path / "own"
    own.mkdir()
    if SITES[site] is not None:
        (own / "sitecustomize.py").write_text(SITES[site])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*before, str(own)]))
    monkeypatch.chdir(tmp_path)
    alone, recorded = both([sys.executable, program(tmp_path, LOOK)])
    assert recorded == alone


@pytest.mark.parametrize("variable", [None, "", ":", "relative"], ids=["unset", "empty", "two empty", "relative"])
@pytest.mark.parametrize("options", ["", "-s", "-P", "-I", "-E", "-u", "-O", "-Werror", "-Xdev"])
def test_the_path_and_the_modules_are_the_program_s_own(both, tmp_path, monkeypatch, variable, options):
    if options == "-P" and sys.version_info < (3, 11):
        pytest.skip("this Python has no -P")
    if variable is None:
        monkeypatch.delenv("PYTHONPATH", raising=False)
    else:
        monkeypatch.setenv("PYTHONPATH", variable)
    alone, recorded = both([sys.executable, *options.split(), program(tmp_path, LOOK)])
    assert recorded == alone


def test_a_usercustomize_runs_once(both, tmp_path, monkeypatch):
    (tmp_path / "usercustomize.py").write_text("print('user')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("PYTHONNOUSERSITE", raising=False)
    base = os.path.realpath(sys.executable)  # a virtual environment has no such file
    alone, recorded = both([base, program(tmp_path, LOOK)])
    assert recorded == alone
    assert alone[1].count("user\n") == 1


def test_a_module_with_a_standard_name_is_found_in_the_program_s_folder(both, tmp_path):
    """The recorder loads nothing of the standard library before the program could."""
    names = ("json", "threading", "queue", "contextlib", "functools", "typing", "random", "struct", "atexit", "ctypes")
    for name in names:
        (tmp_path / f"{name}.py").write_text(f"print('mine: {name}')")
    alone, recorded = both([sys.executable, program(tmp_path, f"import {', '.join(names)}")])
    assert recorded == alone
    assert {"mine: json", "mine: threading", "mine: queue"} <= set(alone[1].splitlines())


@pytest.mark.parametrize("name", ["torch", "ultralytics", "cv2"])
def test_a_sitecustomize_that_imports_what_is_recorded_does_so_as_alone(both, tmp_path, monkeypatch, name):
    (tmp_path / "sitecustomize.py").write_text(f"import {name}; print({name}.__file__)")
    (tmp_path / f"{name}.py").write_text("print('imported')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    alone, recorded = both([sys.executable, "-c", f"import {name}; print({name}.__spec__.origin)"])
    assert recorded == alone


@pytest.fixture
def no_input():
    """Let standard input be empty, also for what is started."""
    before, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    yield
    os.dup2(before, 0)
    os.close(before)
    os.close(nothing)


@pytest.mark.usefixtures("no_input")
def test_ways_to_start_python(both, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = program(tmp_path, LOOK)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text(LOOK)
    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as app:
        app.writestr("__main__.py", LOOK)
    startup = tmp_path / "startup.py"
    startup.write_text("print('startup')")
    monkeypatch.setenv("PYTHONSTARTUP", str(startup))
    ways = [["-m", "package"], ["app.pyz"], ["-c", LOOK], ["package"], ["-i", path], ["-q", "-"]]
    for way in ways:
        alone, recorded = both([sys.executable, *way])
        assert recorded == alone, way


def test_a_virtual_environment_and_its_pth_files(both, tmp_path):
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "some.pth").write_text("import sys; print('pth')\n/tmp\n")
    (site / "sitecustomize.py").write_text("print('of the environment')")
    alone, recorded = both([str(tmp_path / "venv" / "bin" / "python"), program(tmp_path, LOOK)])
    assert recorded == alone
    assert alone[1].count("of the environment\n") == 1


CHILDREN = """
import multiprocessing, os, subprocess, sys
def look(_n):
    return [entry for entry in sys.path if "bootstrap" in entry], "sitecustomize" in sys.modules, sys.argv
if __name__ == "__main__":
    for method in ("spawn", "forkserver", "fork"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            print(method, pool.map(look, [0]))
    print(subprocess.run([sys.executable, "-c", "import sys; print(sys.path)"], capture_output=True).stdout)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-c", "import sys; print(sys.path); sys.exit(5)"])
"""


def test_children_of_the_program_see_no_more_and_are_reached(both, tmp_path):
    alone, recorded = both([sys.executable, program(tmp_path, CHILDREN)])
    assert recorded == alone
    assert alone[0] == 5


def test_a_child_without_our_second_variable_is_left_alone(both, tmp_path):
    code = "import os, subprocess, sys\nos.environ.pop('TBPERF_CAPTURE', None)\n"
    code += f"subprocess.run([sys.executable, '-c', {LOOK!r}])"
    alone, recorded = both([sys.executable, program(tmp_path, code)])
    assert recorded == alone


OLD = sorted(Path.home().glob(".pyenv/versions/*/bin/python"))


@pytest.mark.skipif(not OLD, reason="no other Pythons here (pyenv)")
@pytest.mark.parametrize("python", OLD, ids=lambda path: path.parts[-3])
def test_every_python_runs_as_alone_also_one_that_cannot_be_recorded(both, tmp_path, monkeypatch, python):
    (tmp_path / "sitecustomize.py").write_text("print('own')")
    path = program(
        tmp_path, "import sys; print(sys.path, sorted(sys.modules)); import sitecustomize as own; print(own)"
    )
    for variable in (str(tmp_path), "/none"):
        monkeypatch.setenv("PYTHONPATH", variable)
        alone, recorded = both([str(python), "-B", path])
        assert recorded == alone


def test_the_environment_is_the_same_but_for_two_variables(plain_environment, tmp_path):
    """Also where Python puts a locale into its own, and where the shell names the command."""
    for change in ({}, {"LANG": "C"}, {"LC_ALL": "C"}, {"LC_CTYPE": "C.UTF-8"}, {"ODD": "\udcff\n"}):
        given = {k: v for k, v in plain_environment.items() if not k.startswith(("LC_", "LANG"))} | change
        recorder = f"{sys.executable} -m tbperf record --out {tmp_path / 'run'} --"
        alone, recorded = (
            subprocess.run(["bash", "-c", f"{before} env -0"], env=given, capture_output=True, check=True).stdout
            for before in ("", recorder)
        )
        alone, recorded = (
            [entry for entry in text.split(b"\0") if not entry.startswith(tuple(name.encode() for name in OURS))]
            for text in (alone, recorded)
        )
        assert recorded == alone, change


LIMITS = """
import os, resource, signal, sys
print(sorted(os.listdir("/proc/self/fd"))[:-1])  # the last is of this listing
print([(name, resource.getrlimit(getattr(resource, name))) for name in dir(resource) if name.startswith("RLIMIT")])
print(os.getcwd(), oct(os.umask(0)), os.nice(0), os.getpgrp() == os.getpgid(os.getppid()), os.getsid(0))
print(sorted(os.sched_getaffinity(0)), signal.pthread_sigmask(signal.SIG_BLOCK, []))
print([line for line in open("/proc/self/status") if line.startswith(("Sig", "Groups", "NoNewPrivs", "Seccomp:"))])
print(open("/proc/self/oom_score_adj").read(), open("/proc/self/coredump_filter").read())
"""


def test_files_limits_rights_and_signals_are_the_same(both, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)  # noqa: FBT003 - as a shell's <(…) leaves one open
    mask, core = os.umask(0o027), resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, core[1]))
    try:
        alone, recorded = both(["python3", "-c", LIMITS])
    finally:
        os.umask(mask)
        resource.setrlimit(resource.RLIMIT_CORE, core)
        os.close(reading)
        os.close(writing)
    assert str(reading) in re.findall(r"'(\d+)'", alone[1])
    assert recorded == alone
