"""What the words of a report mean.  docs/report.md says the same, and a test holds the two together."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from tbperf.findings.diagnose import RULES
from tbperf.findings.words import CAUSES, WORK
from tbperf.render.schema import json_schema

if TYPE_CHECKING:
    from collections.abc import Mapping

OWNERS = {
    "kernels": "a kernel that is no collective runs on any stream, or a graph that was timed as a whole",
    "collectives": "a collective (NCCL, RCCL) runs and no other kernel",
    "copies": "a copy runs and no kernel",
    "memsets": "a memset runs and nothing else",
    "idle": "nothing runs",
}
"""Of a nanosecond of a device's window: the first that applies."""

CAUSE_DEFINITIONS = {
    "profiler": "held up by the recorder's own work",
    "sync": "in a synchronizing call (stream, device, event)",
    "memcpy": "in a blocking copy call, or one with pageable memory",
    "allocation": "allocating, freeing or registering memory",
    "module_load": "loading modules, compiling or tuning kernels",
    "launch": "in another launch call",
    "dataloader": "waiting for a batch",
    "save": "in such a stage",
    "plot": "in such a stage",
    "validation": "in such a stage",
    "host_op": "inside a framework operator, or in a call of the operating system's runtime (Nsight Systems)",
    "python": "inside a step, range or Python call, in no operator",
    "unknown": "in nothing that the trace shows",
    "queued": "past the call: the work was launched and did not run yet",
}
"""What the thread that launched the work after a gap was doing; in order of precedence, but for `queued`."""

CHANGES = {cause: f"never {text}" for cause, text in CAUSES.items()} | {
    "host": "no launch calls, operators and Python on the host",
    "synchronizing": "calls that wait for the GPU return at once",
    "waits: sync": "synchronizing calls return at once",
    "waits: reads": "reads of small values return at once",
    "waits: log": "waits while logging return at once",
    "waits: copies": "copies that wait return at once",
    "python:": "no Python code in the stage …",
    "stage:": "no host time in the stage …",
    "pageable": "copies of pageable memory take no time",
    "exposed copies": "exposed copies take no time",
    "collectives": "collectives take no time",
    "tiny kernels": "no tiny kernels, nor the operators that launch them",
    "tensor_cores": "matrix work runs on tensor cores",
    "dominant kernel": "the dominant kernel runs faster",
}
"""What the replay of a run changes; … stands for a stage."""

WORK_DEFINITIONS = {
    "profiler": "held up by the recorder's own work",
    "waiting for a batch": "in the stage `dataload` or `fetch`, while workers load",
    "loading a batch": "in these stages, where the program loads its batches itself",
    "waiting for the GPU": "in a synchronizing call of the GPU's runtime, or a blocking copy call",
    "calls of the GPU's runtime": "in another call of it",
    "optimizer": "in an operator, in the stage `optimizer`",
    "views and allocation": "in an operator that moves no data, and is part of none that does",
    "other operators": "in an operator whose name tells nothing",
    "calls of the system": "in a call of the operating system's runtime (Nsight Systems)",
    "waiting for a thread": "in the backward pass, while autograd's threads are in no operator either",
    "autograd": (
        "in the backward pass, between operators, where it runs in the loop's own thread: its bookkeeping, or waiting"
        " for other ranks"
    ),
    "python": "inside a step, range or Python call, in nothing of the above",
    "unknown": "in nothing that the trace shows",
}
"""What the thread of the program's loop is doing; in order of precedence, operators of autograd's threads before
«waiting for a thread»."""

OPERATORS = "in an operator: the innermost one whose name tells its sort is of that sort"
"""Of all sorts of work that have no definition of their own."""

TERMS = {
    "window": "from the first start to the last end of a device's kernels, copies and memsets",
    "step": "one turn of the program's loop, as the recorder marked it",
    "stage": "a named phase of the program; at each moment the innermost open stage counts",
    "idle": "nothing runs on the device; a stream that is quiet while another works is not idle time",
    "gap": "one stretch of idle time",
    "exposed": "of a copy or collective: time that no kernel hides",
    "GPU work": "durations of the device's work that was launched there, on any thread",
    "work": "what the thread of the program's loop does; each nanosecond of a step is of exactly one sort",
    "usable cores": "cores that the process may use: its affinity, and the quota of its container",
    "own time": "time of an operator outside of the operators that it calls",
    "module": "a part of the model (nn.Module); backward belongs to the module that called the operator it is of",
    "queue time": "from the end of the launch call to the start of the work",
    "launch latency": "from the start of the launch call to the start of the work",
    "linked": "the launch of the device's work is in the trace, so that its stage and operator are known",
    "pageable": "host memory that the driver must copy through a buffer of its own before the GPU can read it",
    "confidence": "high: measured; medium: concluded from what was measured; low: a hint",
    "could save": "what following the advice could save, from a replay of the run or a bound",
    "not seen": "could not be looked at, for the reason that is given: never to be read as «nothing found»",
}


@functools.cache
def words() -> Mapping[str, Any]:
    """Return all that explains a report: owners, causes, terms, the pages of rules, the meaning of each field.

    Asked for once a page, and made once: the meaning of fields is read from the source.
    """
    return {
        "owners": OWNERS,
        "causes": {
            cause: {"words": text, "definition": CAUSE_DEFINITIONS.get(cause, text)} for cause, text in CAUSES.items()
        },
        "changes": CHANGES,
        "work": {
            work: {"words": text, "definition": WORK_DEFINITIONS.get(work, OPERATORS)} for work, text in WORK.items()
        },
        "terms": TERMS,
        "rules": {rule.code: rule.page for rule in RULES},
        "fields": _fields(json_schema()),
    }


def _fields(schema: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the description of each field of the rows of each table, by the table's name."""
    definitions = schema["$defs"]
    found = {}
    for name, of in definitions["TraceReport"]["properties"].items():
        rows = _referred(of)
        if rows is not None:
            properties = definitions[rows]["properties"]
            described = {key: field["description"] for key, field in properties.items() if "description" in field}
            if described:
                found[name] = described
    return found


def _referred(schema: Mapping[str, Any]) -> str | None:
    """Return the definition that a list, an optional value or a value refers to."""
    candidates = [schema, schema.get("items", {}), *schema.get("anyOf", ())]
    found = next((candidate["$ref"] for candidate in candidates if "$ref" in candidate), None)
    return None if found is None else found.rpartition("/")[2]
