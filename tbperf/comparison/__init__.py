"""Two runs held against each other: what changed, why, and whether it is more than noise."""

from tbperf.comparison.comparing import compare_reports
from tbperf.comparison.inputs import compare, read_report
from tbperf.comparison.result import SCHEMA, Comparison, Difference, WorkDifference

__all__ = ["SCHEMA", "Comparison", "Difference", "WorkDifference", "compare", "compare_reports", "read_report"]
