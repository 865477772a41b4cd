"""Runs ``tbperf record`` once for each function of the parent that a run reaches, which fails at its first call.

    python fail_outside.py FOLDER

Tells as JSON lines what became of each run: the exit code, how often the command ran, what was said.
"""

import collections
import errno
import importlib
import inspect
import json
import os
import shutil
import sys
from pathlib import Path

from tbperf import cli

MODULES = (
    *("capture.folder", "capture.hardware", "capture.launch", "capture.options", "capture.outcome", "capture.running"),
    *("capture.sampler", "capture.summary", "cli.record", "cli.export", "tensorboard.exports"),
)
FAILURES = (ValueError("planted"), OSError(errno.ENOSPC, "planted"), MemoryError("planted"), RecursionError("planted"))
NEEDED = (
    *("capture.launch.record", "capture.launch._environment_of_the_command", "capture.launch._variables_at_start"),
    *("capture.launch._quietly", "capture.launch._Run.", "capture.running.wait", "capture.running.taken_signals"),
    *("capture.running.Signals.", "capture.running.in_main_thread", "capture.running._entered"),
    *("capture.launch._Way.__init__", "capture.launch.Recording.__init__", "capture.options.RecordOptions.__init__"),
    *("capture.sampler.HardwareLog._watch", "capture.running._Witness.__init__"),
    *("capture.running._Witness.close", "capture.running._Witness._started"),
)
"""What starts the command and waits for it: it does nothing else, and without it there is no run."""

COMMAND = """
echo ran >>"$0/ran"
printf '{"traceEvents": []}' >"$0/run/trace/h_1.5.pt.trace.json"
printf '{"event": "started", "pid": 1, "unix_ns": 1}\\n' >"$0/run/journal/1.jsonl"
exit 7
"""


def is_needed(name):
    return name in NEEDED or name.rpartition(".")[0] + "." in NEEDED


def tell(row):
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


def functions():
    """Yield every function of the parent: what holds it, under which name, and what it is called."""
    for name in MODULES:
        module = importlib.import_module("tbperf." + name)
        classes = [value for value in vars(module).values() if inspect.isclass(value)]
        for owner in [module, *(of for of in classes if of.__module__ == module.__name__)]:
            called = name if owner is module else f"{name}.{owner.__name__}"
            for key, function in list(vars(owner).items()):
                if inspect.isfunction(function) and function.__module__ == module.__name__:
                    yield owner, key, function, f"{called}.{key}"


def replace(owner, key, function, other):
    """Put another function in the place of one, also where it was imported by its name."""
    setattr(owner, key, other)
    for name, module in list(sys.modules.items()):
        if name.startswith("tbperf.") and vars(module).get(key) is function:
            setattr(module, key, other)


def count_calls(counted):
    for owner, key, function, called in functions():

        def counting(*args, _called=called, _function=function, **kwargs):
            counted[_called] += 1
            return _function(*args, **kwargs)

        replace(owner, key, function, counting)


def plant(wanted, failure):
    for owner, key, function, called in functions():
        if called == wanted:

            def failing(*_args, **_kwargs):
                raise failure

            replace(owner, key, function, failing)


def run(folder, prepare, at_the_end=lambda: None):
    """Run the command line in a child of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    child = os.fork()
    if not child:
        os.dup2(os.open(folder / "said", os.O_WRONLY | os.O_CREAT), 2)
        words = ["sh", "-c", COMMAND, str(folder)]
        sys.argv = ["tbperf", "record", "--tensorboard", "--out", str(folder / "run"), "--", *words]
        prepare()
        try:
            cli.main()
        except SystemExit as end:
            at_the_end()
            os._exit(end.code)
        finally:
            sys.excepthook(*sys.exc_info())
            os._exit(99)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    ran = (folder / "ran").read_text().count("ran") if (folder / "ran").exists() else 0
    return {"code": code, "ran": ran, "said": (folder / "said").read_text()}


def main():
    folder = Path(sys.argv[1])
    counted = collections.Counter()
    list(functions())  # imports all of them, once for all children
    reached = folder.with_name("reached.json")
    done = run(folder, lambda: count_calls(counted), lambda: reached.write_text(json.dumps(counted)))
    tell({"fault": None, **done})
    names = [name for name in sorted(json.loads(reached.read_text())) if not is_needed(name)]
    for number, name in enumerate(names):
        failure = FAILURES[number % len(FAILURES)]
        done = run(folder, lambda name=name, failure=failure: plant(name, failure))
        tell({"fault": f"{name}: {failure!r}", **done})


main()
