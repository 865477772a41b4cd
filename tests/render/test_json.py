"""Reports as JSON keep to the schema that the project publishes."""

import json
from pathlib import Path

import jsonschema
import pytest

from tbperf.analyses import examine
from tbperf.render import render_json
from tbperf.render.schema import DOCUMENTS, json_schema
from tbperf.report import report_on
from tests.draw import Timeline

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_published_schema_is_that_of_the_code(name):
    """After a change of fields: scripts/schema."""
    published = json.loads((DOCS / f"{name}.schema.json").read_text())

    assert published == json_schema(DOCUMENTS[name])


@pytest.mark.parametrize(
    "timeline",
    [
        Timeline(),
        Timeline().kernel(0, 10),
        Timeline().op("aten::add", 0, 10),
        Timeline().call("cudaLaunchKernel", 0, 10),
        Timeline()
        .step(3, 0, 100)
        .stage("dataload", 0, 10)
        .op("aten::add", 20, 30)
        .call("cudaStreamSynchronize", 40, 50)
        .copy("HtoD", 10, 20, memory="pageable", call=(10, 20))
        .kernel(30, 40, call=(21, 22)),
    ],
    ids=["empty", "gpu alone", "cpu", "launch without work", "everything"],
)
def test_every_report_keeps_to_the_schema(timeline):
    document = json.loads(render_json(report_on([examine(timeline.trace())])))

    jsonschema.validate(document, json_schema())
    assert document["schema"] == "tbperf-report/1"


def test_the_schema_rejects_what_is_missing():
    document = json.loads(render_json(report_on([examine(Timeline().kernel(0, 10).trace())])))
    del document["traces"][0]["devices"][0]["idle_ns"]

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, json_schema())


def test_an_analysis_that_could_not_look_says_why():
    document = json.loads(render_json(report_on([examine(Timeline().op("aten::add", 0, 10).trace())])))

    assert {s["analysis"] for s in document["skipped"]} >= {"devices", "idle", "kernels", "memcpy", "steps"}
    assert all(s["reason"] for s in document["skipped"])
