"""Runs before tbperf arms itself (ours is the sitecustomize that it shadows): keeps books on every hook.

`PLANTED` names what raises, and at which call; `CALLS` counts what was reached.
"""

import collections
import os
import sys

if "TBPERF_CAPTURE" in os.environ:
    sys.path.insert(0, os.environ["TBPERF_BOOTSTRAP"])
    from tbperf_inside import patching, recorder

    CALLS = collections.Counter()
    PLANTED = [None, 0]
    RECORDERS = []

    def count(key):
        CALLS[key] += 1
        if key == PLANTED[0] and CALLS[key] == PLANTED[1]:
            raise ValueError("planted")

    observed = patching.observed

    def observed_and_counted(function, enter, guard):
        key = f"{function.__module__}.{function.__qualname__}"

        def counted(*args, **kwargs):
            count("enter " + key)
            leave = enter(*args, **kwargs)
            if leave is None:
                return None

            def leave_counted(result):
                count("leave " + key)
                leave(result)

            return leave_counted

        return observed(function, counted, guard)

    patching.observed = observed_and_counted
    begin = recorder.Recorder.__init__

    def remember(self, settings):
        RECORDERS.append(self)
        begin(self, settings)

    recorder.Recorder.__init__ = remember
