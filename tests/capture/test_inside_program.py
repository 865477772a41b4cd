"""What lives inside the recorded program must not be noticed, least of all when it fails."""

import ast
import functools
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tbperf_inside.guard import Guard
from tbperf_inside.imports import ImportHooks
from tbperf_inside.patching import observe, observe_hierarchy
from tbperf_inside.steps import StepLog

ROOT = Path(__file__).parents[2]
BOOTSTRAP = ROOT / "tbperf" / "capture" / "bootstrap"
INSIDE = sorted(BOOTSTRAP.rglob("*.py"))
SETTINGS = {"version": "0", "plans": {}, "profiler": {}, "max_bytes": 1, "modules": "layers", "nsys": False}


@pytest.mark.parametrize("path", INSIDE, ids=lambda path: path.name)
def test_the_inside_parses_on_python_3_8_and_imports_nothing_but_the_standard_library(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        for name in names:
            top = name.partition(".")[0]
            assert top in sys.stdlib_module_names | {"torch", "tbperf_inside", "sitecustomize"}, name
            # torch only inside of functions, after the program imported it.
            assert top != "torch" or node not in tree.body


def test_the_outside_imports_nothing_of_tbperf_but_errors():
    for path in (ROOT / "tbperf" / "capture").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tbperf"):
                own = node.module == "tbperf.errors" or node.module.startswith("tbperf.capture")
                assert own or [alias.name for alias in node.names] == ["__version__"], node.module


def test_arming_imports_nothing_heavy(tmp_path):
    (tmp_path / "journal").mkdir()
    code = "import sys; print([name for name in ('torch', 'numpy', 'click') if name in sys.modules])"
    settings = json.dumps(SETTINGS | {"folder": str(tmp_path)})
    environment = {"PYTHONPATH": str(BOOTSTRAP), "TBPERF_CAPTURE": settings}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("[]\n", "")
    assert [path.suffix for path in (tmp_path / "journal").iterdir()] == [".jsonl"]


def test_the_sitecustomize_that_is_shadowed_runs_too(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("print('theirs')")
    environment = {"PYTHONPATH": f"{BOOTSTRAP}:{tmp_path}"}
    result = subprocess.run([sys.executable, "-c", ""], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout == "theirs\n"


def test_broken_settings_are_told_and_the_program_runs():
    environment = {"PYTHONPATH": str(BOOTSTRAP), "TBPERF_CAPTURE": "{"}
    result = subprocess.run(
        [sys.executable, "-c", "print('mine')"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "mine\n"
    assert result.stderr.startswith("tbperf: not recording: JSONDecodeError")
    assert result.stderr.count("\n") == 1


def test_the_first_failure_is_printed_once_and_switches_off(capsys):
    failures = []
    guard = Guard(lambda error, _trace: failures.append(error))

    def fail():
        raise ValueError("ours")

    assert guard(fail) is None
    assert guard(fail) is None
    assert guard(lambda: 1) is None
    assert failures == ["ValueError('ours')"]
    assert capsys.readouterr().err == "tbperf: recording stopped, the run goes on: ValueError('ours')\n"


def test_a_failing_clean_up_is_not_noticed_either(capsys):
    def clean_up(_error, _trace):
        raise OSError

    guard = Guard(clean_up)
    guard(lambda: 1 / 0)
    assert guard.tripped
    assert capsys.readouterr().err.count("\n") == 1


class Example:
    def double(self, value):
        if value is None:
            raise TypeError("theirs")
        return 2 * value


def observed_class(calls, guard):
    class Fresh(Example):
        def double(self, value):
            return super().double(value)

    def enter(_self, value):
        calls.append(("enter", value))
        return lambda result: calls.append(("leave", result))

    observe(Fresh, "double", enter, guard)
    observe(Fresh, "double", enter, guard)
    return Fresh


def quiet_guard():
    return Guard(lambda _error, _trace: None)


def test_an_observed_method_is_seen_once_and_answers_as_before():
    calls = []
    cls = observed_class(calls, quiet_guard())
    assert cls().double(4) == 8
    assert calls == [("enter", 4), ("leave", 8)]
    assert cls.double.__name__ == "double"


def test_an_exception_of_the_program_passes_through_and_is_left_behind():
    calls = []
    cls = observed_class(calls, quiet_guard())
    with pytest.raises(TypeError, match="theirs"):
        cls().double(None)
    assert calls == [("enter", None), ("leave", None)]


@pytest.mark.parametrize("where", ["enter", "leave"])
def test_an_exception_of_ours_changes_nothing(where, capsys):
    class Fresh:
        def double(self, value):
            return 2 * value

    def enter(_self, _value):
        if where == "enter":
            raise ValueError(where)

        def leave(_result):
            raise ValueError(where)

        return leave

    observe(Fresh, "double", enter, quiet_guard())
    assert [Fresh().double(value) for value in (1, 2)] == [2, 4]
    assert capsys.readouterr().err.count("tbperf") == 1


def test_all_overrides_in_a_hierarchy_are_observed():
    class Base:
        def run(self):
            return ["base"]

    class User(Base):
        def run(self):
            return [*super().run(), "user"]

    calls = []
    observe_hierarchy(User, "run", lambda _self: calls.append(1), quiet_guard())
    assert User().run() == ["base", "user"]
    assert len(calls) == 2


def test_what_an_owner_does_not_have_is_not_added_but_told():
    told = []
    guard = Guard(lambda _error, _trace: None, told.append)
    for path in ("missing", "missing.method", "double.missing"):
        observe(Example, path, lambda: None, guard)
    assert not hasattr(Example, "missing")
    assert told == ["Example.missing", "Example.missing.method", "Example.double.missing"]
    assert not guard.tripped


@pytest.fixture
def import_hooks(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    hooks = ImportHooks(quiet_guard())
    hooks.install()
    return hooks


def test_a_module_is_reported_after_it_ran_and_keeps_its_loader(import_hooks, tmp_path, monkeypatch):
    (tmp_path / "watched_module.py").write_text("value = 1")
    seen = []
    import_hooks.after("watched_module", lambda module: seen.append(module.value))
    module = importlib.import_module("watched_module")
    monkeypatch.delitem(sys.modules, "watched_module")
    assert seen == [1]
    assert type(module.__spec__.loader).__name__ == "SourceFileLoader"


def test_a_module_that_is_imported_already_is_reported_at_once(import_hooks):
    seen = []
    import_hooks.after("functools", seen.append)
    assert seen == [functools]


def test_a_failing_callback_does_not_fail_the_import(import_hooks, tmp_path, monkeypatch, capsys):
    (tmp_path / "watched_too.py").write_text("value = 2")
    import_hooks.after("watched_too", lambda module: module.renamed)
    assert importlib.import_module("watched_too").value == 2
    monkeypatch.delitem(sys.modules, "watched_too")
    assert "recording stopped" in capsys.readouterr().err


def test_steps_are_written_on_demand_and_as_they_pile_up(tmp_path):
    path = tmp_path / "steps.jsonl"
    log = StepLog(str(path))
    log.append({"step": 0})
    assert not path.exists()
    log.flush()
    log.append({"step": 1})
    log.flush()
    assert path.read_text() == '{"step": 0}\n{"step": 1}\n'
