"""Show a report to people and machines.  Renderers lay out; they never compute what is not in the report."""

from tbperf.render.compare_markdown import render_comparison_markdown
from tbperf.render.compare_text import render_comparison
from tbperf.render.history_text import render_history
from tbperf.render.jsonfile import render_json
from tbperf.render.markdown import render_markdown
from tbperf.render.text import render_text

__all__ = [
    "render_comparison",
    "render_comparison_markdown",
    "render_history",
    "render_json",
    "render_markdown",
    "render_text",
]
