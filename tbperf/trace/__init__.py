"""The one trace model: what every reader produces and every analysis sees."""

from tbperf.trace.model import Gpu, Steps, Thread, Trace
from tbperf.trace.run import LoggedSteps, Run, RunProcess, StepAccount, StepTimes
from tbperf.trace.tables import (
    COPY_KINDS,
    HOST_MEMORY,
    LONGEST_TEXT,
    NONE,
    RANGE_STYLES,
    TABLES,
    Column,
    Kind,
    Strings,
    Table,
)

__all__ = [
    "COPY_KINDS",
    "HOST_MEMORY",
    "LONGEST_TEXT",
    "NONE",
    "RANGE_STYLES",
    "TABLES",
    "Column",
    "Gpu",
    "Kind",
    "LoggedSteps",
    "Run",
    "RunProcess",
    "StepAccount",
    "StepTimes",
    "Steps",
    "Strings",
    "Table",
    "Thread",
    "Trace",
]
