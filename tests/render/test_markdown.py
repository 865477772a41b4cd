"""Markdown for pull requests and issues."""

from tbperf import analyze
from tbperf.render import render_markdown
from tests.cli.test_analyze import LOADER_BOUND
from tests.cli.test_analyze import tbperf as command
from tests.draw import Timeline


def test_it_begins_with_the_verdict_and_names_findings_with_their_argument(tmp_path):
    text = command("analyze", LOADER_BOUND.write(tmp_path / "t.json"), "--format", "markdown").stdout

    assert text.startswith("**The GPU is idle 54 % of the time: 0.375 ms of each 0.690 ms step.**\n")
    assert "LOADER001" in text
    assert "`workers=8`" in text
    assert "| waiting for a batch |" in text


def test_every_row_of_a_table_has_the_cells_of_its_head(tmp_path):
    name = "a|b`c|<img>\n| x |"
    path = Timeline().step(1, 0, 100).stage(name, 0, 90).op(name, 0, 50).kernel(0, 10, name=name, call=(0, 1))
    text = render_markdown(analyze(path.write(tmp_path / "t.json")))

    cells = None
    for line in text.splitlines():
        if not line.startswith("|"):
            cells = None
            continue
        count = line.replace("\\|", "").count("|")
        cells = cells or count
        assert count == cells, line


def test_names_become_neither_html_nor_mentions(tmp_path):
    path = Timeline().kernel(0, 10, name="@everyone <img src=x> **k**")
    text = render_markdown(analyze(path.write(tmp_path / "t.json")))

    outside = "".join(part for line in text.splitlines() for part in line.split("`")[::2])
    assert "@everyone" not in outside
    assert "<img" not in outside
