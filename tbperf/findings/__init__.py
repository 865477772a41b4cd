"""From rows to a diagnosis: what it comes to in a sentence, and findings with their cost, evidence and advice.

Each rule is a module of `tbperf.findings.rules`; its docstring is the page that docs/findings shows.
"""

from tbperf.findings.diagnose import RULES, Rule, diagnose
from tbperf.findings.finding import Advice, Evidence, Finding, Gain, Place

__all__ = ["RULES", "Advice", "Evidence", "Finding", "Gain", "Place", "Rule", "diagnose"]
