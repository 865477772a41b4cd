"""Where the list of events lies in a file, and what stands around it: the outermost list counts, the rest is said."""

import json

import pytest

import tbperf
from tbperf.errors import TraceFormatError
from tbperf.readers import chrome
from tests.draw import Timeline

ONE = Timeline().kernel(0, 10).kernel(15, 20).kineto()
OTHER = Timeline().kernel(0, 70).kineto()
EVENTS, MORE = json.dumps(ONE["traceEvents"]), json.dumps(OTHER["traceEvents"])
ANOTHER = "another JSON document follows"
SECOND = "another list of trace events stands behind"


def pretty(document):
    return json.dumps(document, indent=1)


FORMS = {
    "as torch writes it": (pretty(ONE), None),
    "metadata behind": (f'{{"traceEvents": {EVENTS}, "a": 1}}\n', None),
    "two documents": (f"{pretty(ONE)}\n{pretty(OTHER)}\n", ANOTHER),
    "two documents on a line each": (f"{json.dumps(ONE)}\n{json.dumps(OTHER)}\n", ANOTHER),
    "two documents that touch": (json.dumps(ONE) + json.dumps(OTHER), ANOTHER),
    "the same with metadata behind": (f'{{"traceEvents": {EVENTS}, "a": 1}}{json.dumps(OTHER)}', ANOTHER),
    "three documents": ("\n".join(map(json.dumps, (ONE, OTHER, OTHER))), ANOTHER),
    "a list behind": (f"{json.dumps(ONE)}\n{MORE}", ANOTHER),
    "a document before": (f'{{"meta": 1}}\n{json.dumps(ONE)}', None),
    "documents before, with text": (f'{{"meta": "a [ {{ b"}} {{"x": [1]}}\n{pretty(ONE)}', None),
    "a list of documents": (json.dumps([ONE, OTHER]), ANOTHER),
    "a list of one document": (pretty([ONE]), None),
    "two lists under one name": (f'{{"traceEvents": {EVENTS}, "traceEvents": {MORE}}}', SECOND),
    "an empty list before": (f'{{"traceEvents": [], "traceEvents": {EVENTS}}}', None),
    "a list deeper down before": (f'{{"other": {{"traceEvents": [{{"ph": "X"}}]}}, "traceEvents": {EVENTS}}}', None),
    "an empty list deeper down before": (f'{{"other": {{"traceEvents": []}}, "traceEvents": {EVENTS}}}', None),
    "a list of lists before": (f'{{"a": [[{{"traceEvents": [1, 2]}}]], "traceEvents": {EVENTS}}}', None),
    "the name in a text before": (f'{{"a": "\\"traceEvents\\": [1]", "traceEvents": {EVENTS}}}', None),
    "the name as a value before": (f'{{"a": "traceEvents", "b": ["traceEvents"], "traceEvents": {EVENTS}}}', None),
    "the list lies in an object of the same name": (f'{{"traceEvents": {{"traceEvents": {EVENTS}}}}}', None),
    "the only list lies deeper down": (f'{{"data": {{"traceEvents": {EVENTS}}}}}', None),
    "events in a list of their own": (EVENTS, None),
    "events in a list, and more": (f"{EVENTS}\n{MORE}", ANOTHER),
    "white space and zeros behind": (json.dumps(ONE) + " \r\n\t\0\0", None),
    "words behind": (json.dumps(ONE) + "\nSegmentation fault", "something that is no JSON follows"),
    "a brace too many": (json.dumps(ONE) + "}", "something that is no JSON follows"),
    "a page behind": (json.dumps(ONE) + "<html>", "something that is no JSON follows"),
    "a byte order mark": ("\ufeff" + json.dumps(ONE), None),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_outermost_list_of_events_is_read_and_what_is_not_read_is_said(tmp_path, form):
    content, note = FORMS[form]
    path = tmp_path / "t.json"
    path.write_text(content)

    (trace,) = tbperf.analyze(path).traces

    assert [(device.window_ns, device.kernels) for device in trace.devices] == [(20_000, 2)]
    assert not trace.truncated
    assert not trace.dropped
    if note is None:
        assert not trace.notes
    else:
        assert [text for text in trace.notes if text.startswith(note)], trace.notes


@pytest.mark.parametrize("form", FORMS)
def test_the_same_is_found_where_the_file_comes_block_by_block(form, monkeypatch):
    data = FORMS[form][0].encode()
    whole, stream = chrome.Cut(), chrome.Cut()
    monkeypatch.setattr(chrome, "PIECE_BYTES", 50)

    cuts = chrome.cut_file(lambda begin, end: data[begin:end], len(data), whole)
    pieces = list(chrome.cut_stream((data[at : at + 7] for at in range(0, len(data), 7)), stream))

    assert [data[begin:end] for begin, end in cuts] == pieces
    assert (whole.head, whole.tail, whole.truncated) == (stream.head, stream.tail, stream.truncated)


def test_a_broken_head_hides_no_events(tmp_path):
    """Quotes that nobody closed in front of the events, as in a path of Windows or a description."""
    path = tmp_path / "t.json"
    path.write_text(f'{{"name": "the "best" trace", "x": "odd" quote", "traceEvents": {EVENTS}}}')

    (trace,) = tbperf.analyze(path).traces

    assert trace.devices[0].kernels == 2


def test_an_outer_list_is_looked_for_no_further_than_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(chrome, "_LONGEST_LOOK_BYTES", 1000)
    path = tmp_path / "t.json"
    padding = json.dumps(["x" * 10] * 500)
    path.write_text(f'{{"data": {{"traceEvents": {EVENTS}}}, "padding": {padding}, "traceEvents": {MORE}}}')

    (trace,) = tbperf.analyze(path).traces

    assert trace.devices[0].kernels == 2


@pytest.mark.parametrize(
    "content", ["[1, 2, 3]", "[[]]", '["a"]', "[null]", "[{}]", '[{"a": 1}]', "{", "[", '{"traceEvents":']
)
def test_json_without_events_is_refused_or_empty(tmp_path, content):
    path = tmp_path / "t.json"
    path.write_text(content)

    try:
        report = tbperf.analyze(path)
    except TraceFormatError as error:
        assert error.message.startswith(f"{path}: ")  # noqa: PT017 - either is right
    else:
        assert not report.traces[0].devices


def test_bytes_of_another_encoding_hide_nothing(tmp_path):
    path = tmp_path / "t.json"
    document = Timeline().kernel(0, 10, name="größer").kineto()
    path.write_bytes(json.dumps(document, ensure_ascii=False).encode("latin-1"))

    (trace,) = tbperf.analyze(path).traces

    assert trace.kernels[0].name == "gr\ufffd\ufffder"
