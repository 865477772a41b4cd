"""Text from traces and names of files is shown as itself: no control of a terminal, no markup, no link, no script."""

import io
import json
import subprocess
import sys
import tarfile

import pytest

import tbperf
from tbperf.analyses import examine
from tbperf.readers import find_traces, read_trace
from tbperf.render import render_json, render_markdown, render_text
from tbperf.render.html import render_html
from tbperf.render.markdown import markdown_prose
from tbperf.render.sections import SECTIONS
from tbperf.render.timeline import timeline
from tests.draw import Timeline

EVIL = (
    "\x1b]0;owned\x07\x1b[31m\x9b2J\r\nnext\u2028\u202egnp.exe\u200f</script><script>alert(1)</script>"
    "[x](https://evil.example) https://evil.example www.evil.example a@evil.example <img src=x> `|*_~#"
)
"""Controls of terminals, ends of lines, marks of direction, HTML, Markdown and addresses."""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A folder with two traces of which every text that a trace can have is hostile."""
    folder = tmp_path_factory.mktemp("hostile") / EVIL.replace("/", "\u2215")[:80]
    folder.mkdir()
    for rank in (0, 1):
        timeline = Timeline()
        for number in range(3):
            at = 1000 * number
            timeline.step(number, at, at + 1000).stage(EVIL, at, at + 500).range(EVIL, at + 1, at + 400)
            timeline.kernel(at + 50, at + 600 + rank, name=EVIL, call=(at + 20, at + 40))
            timeline.kernel(at + 610, at + 700, name=f"ncclKernel {EVIL}")
            timeline.copy("HtoD", at + 701, at + 750, memory="pageable", call=(at + 690, at + 699))
            timeline.op(EVIL, at + 10, at + 45, shapes=json.dumps([EVIL])).python(EVIL, at + 5, at + 49)
            timeline.op("aten::conv2d", at + 50, at + 60, shapes=json.dumps([[8, 3]]))
            timeline.range(f"tbperf/module:{EVIL.replace(' ', '')} {EVIL} ({EVIL})", at + 5, at + 300)
            timeline.loaded(EVIL, at, at + 100).loaded("fetch", at, at + 200).call(EVIL, at + 801, at + 820)
            timeline.call("cudaStreamSynchronize", at + 760, at + 800).overhead(EVIL, at + 900, at + 950)
        document = timeline.kineto() | {
            "deviceProperties": [{"id": 0, "name": EVIL, "totalGlobalMem": 1 << 30}],
            "distributedInfo": {"rank": rank, "world_size": 3, "backend": EVIL},
            "tbperf": {"phase": EVIL},
            "torch_version": EVIL,
        }
        names = {"ph": "M", "name": "thread_name", "pid": 1, "tid": 1, "args": {"name": EVIL}}
        document["traceEvents"] += [names, names | {"name": "process_name"}, names | {"name": "process_labels"}]
        path = folder / f"rank{rank}{EVIL[:20].replace('/', '')}.pt.trace.json"
        path.write_text(json.dumps(document))
    return folder


def odd(text, allowed="\n"):
    return {char for char in text if not char.isprintable() and char not in allowed}


@pytest.mark.parametrize("sections", [None, SECTIONS])
@pytest.mark.parametrize("top", [1, 50])
def test_the_text_controls_no_terminal(hostile, sections, top):
    report = tbperf.analyze(hostile)

    text = render_text(report, top=top, **({} if sections is None else {"sections": sections}))

    assert not odd(text)
    assert "owned" in text


def test_markdown_holds_no_markup_and_no_link_of_a_trace(hostile):
    report = tbperf.analyze(hostile)

    text = render_markdown(report, top=50)

    assert not odd(text, "\n\u200b")
    for line in text.splitlines():
        outside = "".join(line.split("`")[::2]) if line.count("`") % 2 == 0 else line
        assert "<script" not in outside.replace("\\", "")
        assert "https://" not in outside.replace("https://github", "")
        assert "www.evil" not in outside
        assert "a@evil" not in outside


def test_addresses_in_the_name_of_a_gpu_are_plain_text():
    shown = markdown_prose("NVIDIA https://evil.example/a?b=c ftp://x www.evil.example mailto:a@b.c a@b.c #1 @me")

    from markdown_it import MarkdownIt

    page = MarkdownIt("commonmark").render(shown)
    assert "<a " not in page
    assert "://" not in shown
    assert "www." not in shown
    assert page.replace("\u200b", "").strip() == (
        "<p>NVIDIA https://evil.example/a?b=c ftp://x www.evil.example mailto:a@b.c a@b.c #1 @me</p>"
    )


def test_the_page_holds_no_script_of_a_trace(hostile):
    report = tbperf.analyze(hostile)
    traces = [read_trace(source) for source in find_traces(hostile)]

    page = render_html(report, [timeline(trace) for trace in traces])

    plain = render_html(tbperf.report.report_on([examine(Timeline().kernel(0, 10).trace())]))
    assert page.count("<script") == plain.count("<script")
    assert page.count("</script") == plain.count("</script")
    assert "<img src=x" not in page
    json.loads(render_json(report))


def test_error_lines_control_no_terminal(tmp_path):
    pytest.importorskip("tbperf.printable")
    name = "a\x1b]0;owned\x07\u202e\nb.json"
    (tmp_path / name).write_text("<html>")
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as file:
        member = tarfile.TarInfo(f"x/{name}")
        member.size = 6
        file.addfile(member, io.BytesIO(b"<html>"))

    for path in (tmp_path / name, archive, tmp_path / f"no{name}", tmp_path):
        done = subprocess.run([sys.executable, "-m", "tbperf", "analyze", str(path)], capture_output=True, check=False)
        assert done.returncode == 3
        said = done.stderr.decode()
        assert not odd(said)
        assert len(said.splitlines()) <= 2
        assert "owned" in said or path == tmp_path
