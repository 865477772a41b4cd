"""Questions asked of a trace.  Each is a module with one function that answers it in frozen rows."""

from tbperf.analyses.examine import ANALYSES, Analysis, TraceReport, examine
from tbperf.analyses.rows import LeftOut, Rows, Skipped

__all__ = ["ANALYSES", "Analysis", "LeftOut", "Rows", "Skipped", "TraceReport", "examine"]
