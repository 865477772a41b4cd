"""The part of tbperf that runs inside the recorded program.

It must work in any Python from 3.8 on, also one in which tbperf is not installed: standard library
only, and torch and Ultralytics only once the program itself has imported them.  Nothing here may
change what the program does:

- wrappers sit on classes, never on instances (models are copied into the EMA and pickled into
  checkpoints);
- the first exception of our own switches the recorder off for good, and the program goes on.

    imports.py    calls us back when the program imports a module
    guard.py      keeps our failures away from the program
    patching.py   wraps methods on classes
    stages.py     which stage is open, and for how long
    ranges.py     shows the stages to torch.profiler and NVTX
    modules.py    shows the calls of the model's modules in the same way
    schedule.py   when to run the profiler: arithmetic over steps
    captures.py   the profiler itself: torch's, or Nsight Systems around the program
    profilers.py  which profilers the program runs itself; they go first
    windows.py    when it runs, for which pass over batches, and what ends it
    steps.py      the log of all steps
    fetches.py    what loading each batch was spent on, also in the loader's workers
    journal.py    what the parent process must know
    recorder.py   puts these together: sessions of steps
    hooks_*.py    where Ultralytics and torch are tapped
"""

from __future__ import annotations

import atexit
import json
import os


def arm(settings: str) -> None:
    """Prepare to record this process; ``settings`` is JSON that ``tbperf record`` left."""
    from . import hooks_loader, hooks_predict, hooks_shared, hooks_train, hooks_val
    from .imports import ImportHooks
    from .recorder import Recorder

    recorder = Recorder(json.loads(settings))
    hooks = ImportHooks(recorder.guard)
    recorder.programs_profilers.register(hooks)
    for taps in (hooks_shared, hooks_loader, hooks_train, hooks_val, hooks_predict):
        taps.register(hooks, recorder)
    hooks.install()
    atexit.register(recorder.finish)
    os.register_at_fork(after_in_child=recorder.forget_the_parent)
