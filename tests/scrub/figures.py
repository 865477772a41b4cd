"""What a report on a copy must have in common with that on the original."""

import json

import tbperf
from tbperf.errors import TraceFormatError
from tbperf.render import render_json

_OF_THE_FILE = {"path", "bytes", "events", "warnings", "notes", "folder", "command", "dropped", "cautions", "run"}


def accounting(path):
    """Return the figures of a trace, to the nanosecond and without names; None where it cannot be read."""
    try:
        traces = tbperf.analyze(path, jobs=1).traces
    except TraceFormatError:
        return None
    return [
        {
            "devices": list(trace.devices),
            "idle": list(trace.idle),
            "kernels": sorted((k.total_ns, k.calls, k.family, k.tensor_cores, k.device) for k in trace.kernels),
            "families": list(trace.families),
            "copies": [(c.copy_kind, c.host_memory, c.calls, c.bytes, c.total_ns, c.exposed_ns) for c in trace.memcpy],
            "collectives": [(c.calls, c.total_ns, c.exposed_ns, c.bytes) for c in trace.collectives],
            "steps": [(s.step, s.start_ns, s.dur_ns, s.idle_ns, s.cause, s.work) for s in trace.steps],
            "stages": [s.host_ns for s in trace.stages],
            "syncs": [(s.calls, s.host_ns, s.idle_after_ns) for s in trace.syncs],
        }
        for trace in traces
    ]


def assert_same_report(before, after):
    """Hold two reports against each other: every number is the same, and texts differ only where one is a pseudonym."""
    differences = list(_differences(_json(before), _json(after), ""))
    assert not differences, differences[:5]


def _json(path):
    return json.loads(render_json(tbperf.analyze(path, jobs=1)))


def _differences(before, after, place):
    if isinstance(before, dict) and isinstance(after, dict):
        for (name, old), (written, new) in zip(before.items(), after.items(), strict=True):
            if name != written and "anon" not in written:
                yield place, name, written
            if name not in _OF_THE_FILE:
                yield from _differences(old, new, f"{place}.{name}")
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            yield place, before, after
        for index, (old, new) in enumerate(zip(before, after, strict=False)):
            yield from _differences(old, new, f"{place}[{index}]")
    elif before != after and not (isinstance(after, str) and "anon" in after):
        yield place, before, after
