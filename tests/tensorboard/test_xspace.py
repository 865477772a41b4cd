"""The Profile tab shows of a trace what tbperf's own report says of it, to the nanosecond."""

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st

import tbperf
from tbperf.tensorboard import wire
from tbperf.tensorboard.exports import XPROF, export
from tbperf.tensorboard.xspace import MOST_KERNEL_ROWS, TENSOR_CORES_MARK, encode_xspace
from tests.draw import Timeline
from tests.readers.test_corpus import CORPUS
from tests.tensorboard.serving import tensorboard

TRACES = {
    "owlv2-h100": "kineto/owlv2-h100.json.gz",
    "nccl-a100-base-time-ns": "kineto/nccl-a100-base-time-ns.json.gz",
    "resnet50-v100-torch1.9-loader-bound": "kineto/resnet50-v100-torch1.9-loader-bound.pt.trace.json.gz",
    "vit-v100-microsecond-overlaps": "kineto/vit-v100-microsecond-overlaps.json.gz",
    "fuser": "nsys/fuser.sqlite",
}
WITH_STEPS = [name for name in TRACES if name != "fuser"]
RANKS = "dlrm-8-ranks-v100"


@pytest.fixture(scope="module")
def corpus():
    if not CORPUS.is_dir():
        pytest.skip("no ../shared/corpus here")
    return CORPUS


@pytest.fixture(scope="module")
def profile(corpus, tmp_path_factory):
    """TensorBoard on the exports of five traces and of a job of eight ranks."""
    pytest.importorskip("xprof", reason="no Profile tab (pip install 'tbperf[tensorboard]')")
    folder = tmp_path_factory.mktemp("xprof")
    for name in (*TRACES.values(), f"kineto/{RANKS}.tar.gz"):
        export(corpus / name, [XPROF], folder)
    with tensorboard(folder) as served:
        yield served


@pytest.fixture(scope="module")
def reports(corpus):
    return {name: tbperf.analyze(corpus / file).traces[0] for name, file in TRACES.items()}


@pytest.mark.parametrize("name", TRACES)
def test_kernel_statistics_equal_the_report_to_the_nanosecond(profile, reports, name):
    rows = profile.kernels(name)
    devices = reports[name].devices

    assert sum(row["occurrences"] for row in rows) == sum(device.kernels for device in devices)
    assert sum(round(1000 * row["total_duration_us"]) for row in rows) == sum(device.kernel_ns for device in devices)


@pytest.mark.parametrize("name", TRACES)
def test_each_kernel_by_name_equals_the_report(profile, reports, name):
    found = {}
    for row in profile.kernels(name):
        kernel = row["kernel_name"].removesuffix(TENSOR_CORES_MARK)
        calls, total = found.get(kernel, (0, 0))
        found[kernel] = calls + int(row["occurrences"]), total + round(1000 * row["total_duration_us"])

    assert found == {kernel.name: (kernel.calls, kernel.total_ns) for kernel in reports[name].kernels}


@pytest.mark.parametrize("name", TRACES)
def test_tensor_core_columns_say_what_the_report_says(profile, reports, name):
    uses, eligible = {}, {}
    for row in profile.kernels(name):
        kernel = row["kernel_name"].removesuffix(TENSOR_CORES_MARK)
        uses[kernel] = row["is_kernel_using_tensor_core"]
        eligible[kernel] = row["is_op_tensor_core_eligible"]

    assert uses == {kernel.name: bool(kernel.tensor_cores) for kernel in reports[name].kernels}
    assert eligible == {kernel.name: kernel.tensor_cores is not None for kernel in reports[name].kernels}


@pytest.mark.parametrize("name", WITH_STEPS)
def test_step_times_are_those_of_the_program(profile, reports, name):
    table = profile.tool(name, "input_pipeline_analyzer")[1]
    names = [column["id"] for column in table["cols"]]
    rows = [dict(zip(names, [cell["v"] for cell in row["c"]], strict=True)) for row in table["rows"]]
    steps = {str(step.step): step for step in reports[name].steps}

    assert rows
    for row in rows:
        step = steps[row["stepnum"]]
        assert round(1e6 * row["stepTimeMs"]) == step.dur_ns
        device = (
            "deviceComputeTimeMs",
            "deviceToDeviceTimeMs",
            "deviceCollectivesTimeMs",
            "infeedTimeMs",
            "outfeedTimeMs",
        )
        # Work that began in the step before is not counted in this one.
        assert sum(row[key] for key in device) == pytest.approx(step.busy_ns / 1e6, rel=0.02)


def test_stages_and_modules_stand_above_the_operator(profile):
    operators = {row["op_name"] for row in profile.kernels("owlv2-h100")}
    stages = {row["op_name"].partition("/")[0] for row in profile.kernels("resnet50-v100-torch1.9-loader-bound")}

    assert any(name.startswith("Owlv2ForObjectDetection_0/Owlv2Model_0/") for name in operators)
    assert {"backward", "optimizer"} <= stages


def test_16_bit_is_told_from_32_bit(profile):
    def share(name):
        tables = profile.tool(name, "overview_page")
        return next(t["p"]["device_compute_16bit_percent"] for t in tables if "device_compute_16bit_percent" in t["p"])

    assert share("owlv2-h100") == "99.8%"  # bfloat16 throughout
    assert share("resnet50-v100-torch1.9-loader-bound") == "0.0%"


def test_memory_has_the_peak_of_the_report(profile, reports):
    peak = next(row.peak_allocated_bytes for row in reports["owlv2-h100"].memory if row.device == 0)
    found = profile.tool("owlv2-h100", "memory_profile", host="owlv2-h100")["memoryProfilePerAllocator"]

    assert int(found["GPU 0"]["profileSummary"]["peakStats"]["peakBytesInUse"]) == peak


def test_the_trace_viewer_has_streams_steps_scopes_threads_and_arrows(profile):
    events = profile.tool("owlv2-h100", "trace_viewer@", host="owlv2-h100")["traceEvents"]
    lines = {event["args"]["name"] for event in events if event.get("name") == "thread_name"}
    planes = {event["args"]["name"] for event in events if event.get("name") == "process_name"}
    arrows = [event for event in events if event.get("flow_in")]

    assert {"Steps", "Stream 7", "Stages and modules", "Operators", "memory of GPU 0"} <= lines
    assert any(plane.endswith("/device:GPU:0") for plane in planes)
    assert any(plane.endswith("/host:CPU") for plane in planes)
    assert arrows


def test_ranks_are_hosts_of_one_capture(profile, corpus):
    hosts = profile.json("data/plugin/profile/hosts", run=RANKS, tag="kernel_stats")
    report = tbperf.analyze(corpus / f"kineto/{RANKS}.tar.gz")

    assert sorted(host["hostname"] for host in hosts) == ["ALL_HOSTS", *(f"rank{rank}" for rank in range(8))]
    for trace in report.traces:
        rows = profile.kernels(RANKS, host=f"rank{trace.rank}")
        assert sum(row["occurrences"] for row in rows) == sum(device.kernels for device in trace.devices)
        total = sum(round(1000 * row["total_duration_us"]) for row in rows)
        assert total == sum(device.kernel_ns for device in trace.devices)


def test_an_export_says_that_xprof_keeps_not_all_rows_of_many_hosts(corpus, tmp_path):
    (note,) = export(corpus / f"kineto/{RANKS}.tar.gz", [XPROF], tmp_path).notes

    assert "1,000 rows" in note


# Without TensorBoard: what is written, decoded by protobuf itself.


def _message(fields):
    """Build a message class: name → (number, type name, repeated)."""
    types = {"int": 3, "uint": 4, "text": 9, "double": 1}
    file = descriptor_pb2.FileDescriptorProto(name="x.proto", package="x", syntax="proto3")
    for name, described in fields.items():
        message = file.message_type.add(name=name)
        for field, (number, type_, repeated) in described.items():
            added = message.field.add(name=field, number=number, label=3 if repeated else 1, type=types.get(type_, 11))
            if type_ not in types:
                added.type_name = f".x.{type_}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"x.{name}")) for name in fields}


MESSAGES = _message(
    {
        "Stat": {
            "metadata_id": (1, "int", False),
            "double_value": (2, "double", False),
            "uint64_value": (3, "uint", False),
            "int64_value": (4, "int", False),
            "str_value": (5, "text", False),
            "ref_value": (7, "uint", False),
        },
        "Event": {
            "metadata_id": (1, "int", False),
            "offset_ps": (2, "int", False),
            "duration_ps": (3, "int", False),
            "stats": (4, "Stat", True),
        },
        "Named": {"id": (1, "int", False), "name": (2, "text", False), "display_name": (4, "text", False)},
        "Entry": {"key": (1, "int", False), "value": (2, "Named", False)},
        "Line": {
            "id": (1, "int", False),
            "name": (2, "text", False),
            "timestamp_ns": (3, "int", False),
            "events": (4, "Event", True),
        },
        "Plane": {
            "id": (1, "int", False),
            "name": (2, "text", False),
            "lines": (3, "Line", True),
            "event_metadata": (4, "Entry", True),
            "stat_metadata": (5, "Entry", True),
            "stats": (6, "Stat", True),
        },
        "Space": {"planes": (1, "Plane", True), "hostnames": (4, "text", True)},
    }
)


class Decoded:
    """An XSpace as plain values: plane → line → (name, start, duration, stats)."""

    def __init__(self, trace):
        space = MESSAGES["Space"].FromString(b"".join(encode_xspace(trace, "here")))
        self.hosts = list(space.hostnames)
        self.planes = {plane.name: self._plane(plane) for plane in space.planes}

    def _plane(self, plane):
        events = {entry.key: entry.value for entry in plane.event_metadata}
        stats = {entry.key: entry.value.name for entry in plane.stat_metadata}

        def value(stat):
            if stat.ref_value:
                return stats[stat.ref_value]
            return stat.str_value or stat.double_value or stat.uint64_value or stat.int64_value

        return {
            line.name: [
                (
                    events[event.metadata_id].name,
                    event.offset_ps,
                    event.duration_ps,
                    {stats[stat.metadata_id]: value(stat) for stat in event.stats},
                )
                for event in line.events
            ]
            for line in plane.lines
        }


def test_one_launch_in_full():
    trace = (
        Timeline()
        .step(3, 0, 100)
        .stage("forward", 10, 60)
        .op("aten::conv2d", 20, 50)
        .kernel(55, 70, name="volta_h884gemm", call=(30, 40))
        .copy("HtoD", 72, 75, memory="pageable", size=4096, call=(65, 71))
        .trace()
    )
    gpu = Decoded(trace).planes["/device:GPU:0"]

    (kernel, copy) = gpu["Stream 7"]
    assert kernel[:3] == ("volta_h884gemm", 55_000_000, 15_000_000)
    assert kernel[3]["tf_op"] == "forward/aten.conv2d:AtenConv2d"
    assert kernel[3]["group_id"] == 3
    assert copy[0] == "MemcpyHtoD"
    assert copy[3]["memcpy_details"] == "kind:pageable\nnum_bytes:4096"
    assert gpu["Steps"] == [("3", 0, 100_000_000, {"group_id": 3, "step_name": "3"})]
    assert [event[0] for event in gpu["Stages and modules"]] == ["forward"]


def test_launch_and_kernel_share_their_correlation_and_an_arrow():
    trace = Timeline().op("aten::add", 0, 50).kernel(55, 70, call=(30, 40)).trace()
    planes = Decoded(trace).planes
    (kernel,) = planes["/device:GPU:0"]["Stream 7"]
    (call,) = [event for event in planes["/host:CPU"]["thread 1"] if event[0] == "cudaLaunchKernel"]

    assert kernel[3]["correlation_id"] == call[3]["correlation_id"] != 0
    assert (kernel[3]["flow"] >> 2, kernel[3]["flow"] & 3) == (call[3]["flow"] >> 2, 1)
    assert call[3]["flow"] & 3 == 2


def test_a_kernel_of_no_length_is_counted_all_the_same():
    """XProf leaves out what takes no time; a picosecond is none that it shows."""
    trace = Timeline().kernel(5, 5).trace()
    ((_, start, duration, _),) = Decoded(trace).planes["/device:GPU:0"]["Stream 7"]

    assert (start, duration) == (5_000_000, 1)


def test_names_of_a_trace_are_nothing_but_text():
    hostile = 'a/b:<script>"\x00\u202e\ud800'
    trace = Timeline().op(hostile, 0, 50).kernel(55, 70, name=hostile, call=(30, 40)).trace()
    ((name, *_, stats),) = Decoded(trace).planes["/device:GPU:0"]["Stream 7"]

    assert name == hostile.replace("\ud800", "?")
    assert stats["tf_op"] == "a_b_script:ABScript"


def test_the_recorders_ranges_of_modules_are_levels_above_the_operator():
    timeline = Timeline().step(1, 0, 100).stage("forward", 0, 60)
    timeline.range("tbperf/module:model.2 Detect (head)", 0, 50).range("tbperf/module:model.2.cv2.0 Conv (head)", 5, 45)
    timeline.op("aten::conv2d", 10, 40, sequence=3).kernel(50, 60, call=(20, 30))
    timeline.op("ConvBackward0", 70, 80, sequence=3, thread=(1, 2)).kernel(80, 90, call=(71, 72), thread=(1, 2))
    gpu = Decoded(timeline.trace()).planes["/device:GPU:0"]

    assert [event[3]["tf_op"].partition(":")[0] for event in gpu["Stream 7"]] == [
        "forward/model.2/cv2.0/aten.conv2d",
        "backward/model.2/cv2.0.backward/ConvBackward0",
    ]


def test_modules_are_left_out_where_kernel_statistics_would_overflow():
    timeline = Timeline()
    for index in range(MOST_KERNEL_ROWS + 1):
        at = 10 * index
        timeline.python(f"nn.Module: Conv_{index}", at, at + 8).op("aten::add", at + 1, at + 7)
        timeline.kernel(at + 5, at + 6, call=(at + 2, at + 3))
    gpu = Decoded(timeline.trace()).planes["/device:GPU:0"]

    assert {event[3]["tf_op"] for event in gpu["Stream 7"]} == {"aten.add:AtenAdd"}
    assert len(gpu["Stages and modules"]) == MOST_KERNEL_ROWS + 1


def test_a_trace_without_a_gpu_has_a_host():
    decoded = Decoded(Timeline().step(0, 0, 100).op("aten::add", 10, 20).trace())

    assert list(decoded.planes) == ["/host:CPU"]
    assert decoded.hosts == ["here"]


@given(
    st.lists(
        st.tuples(st.integers(0, 2**62), st.integers(-(2**62), 2**62), st.none() | st.integers(0, 2**40)), max_size=40
    )
)
@settings(deadline=None)
def test_columns_give_the_messages_that_protobuf_reads(rows):
    """Rows of (name, start, value of a stat where there is one)."""
    name, start = (np.array([row[index] for row in rows], np.int64) for index in (0, 1))
    has = np.array([row[2] is not None for row in rows], np.bool_)
    value = np.array([row[2] or 0 for row in rows], np.int64)
    stat = [*wire.integers(1, 7), *wire.integers(4, value)]
    event = [*wire.integers(1, name), *wire.integers(2, start), *wire.messages(4, len(rows), stat, has)]

    found = MESSAGES["Line"].FromString(wire.joined(len(rows), wire.messages(4, len(rows), event)))

    assert [
        (one.metadata_id, one.offset_ps, one.stats[0].int64_value if one.stats else None) for one in found.events
    ] == rows
