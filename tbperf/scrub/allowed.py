"""The list of what stays in a scrubbed recording.  What is not on it is left out; docs/scrub.md prints it.

Rules say what a value may look like (`tbperf.scrub.values`), kinds what a name may (`tbperf.scrub.names`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tbperf.scrub.values import FLAG, NUMBER, NUMBERS, VERSION, Each, Either, Fields, Keyed, Name, Rule, Shaped, one_of

if TYPE_CHECKING:
    from collections.abc import Mapping

# Traces of torch.profiler


@dataclass(frozen=True)
class Events:
    """Events of some categories."""

    title: str
    categories: tuple[str, ...]
    """In lower case."""
    name: str
    """The kind of their names."""
    args: Mapping[str, Rule]
    phases: tuple[str, ...] = ("X", "B", "E")
    """Complete events and halves; i: moments, s, t and f: arrows."""


def _numbers(*keys: str) -> dict[str, Rule]:
    return dict.fromkeys(keys, NUMBER)


_LINKS = _numbers("External id", "external id", "correlation", "Ev Idx", "Record function id", "Trace iteration")
_COLLECTIVE: dict[str, Rule] = {
    "Collective name": Name("code"),
    "dtype": Name("code"),
    **_numbers("In msg nelems", "Out msg nelems", "Group size", "Rank", "Global rank start", "Global rank stride"),
    **_numbers("Process Group ID", "Seq", "Src Rank", "Dst Rank"),
    **dict.fromkeys(("In split size", "Out split size", "Process Group Ranks"), NUMBERS),
}
_WORK: dict[str, Rule] = {
    **_LINKS,
    **_numbers("device", "context", "stream", "queued", "bytes", "graph id", "graph node id", "priority", "cbid"),
    **_numbers("registers per thread", "shared memory", "blocks per SM", "warps per SM", "est. achieved occupancy %"),
    **_numbers("memory bandwidth (GB/s)", "channel", "channel_type"),
    **dict.fromkeys(("grid", "block", "cluster"), NUMBERS),
    "kind": one_of("HtoD", "DtoH", "DtoD", "HtoH", "PtoP", "Dispatch Kernel", "Memset", "Memcpy"),
    **_COLLECTIVE,
}

EVENTS = (
    Events("Kernels and memsets", ("kernel", "gpu_memset", "memset", "collective_comm"), "kernel", _WORK),
    Events("Copies", ("gpu_memcpy", "memcpy"), "copy", _WORK),
    Events(
        "Calls of the GPU's runtime",
        (
            *("cuda_runtime", "cuda_driver", "runtime", "hip_runtime", "xpu_runtime", "xpu_driver", "mtia_runtime"),
            *("privateuse1_runtime", "privateuse1_driver"),
        ),
        "call",
        {
            **_LINKS,
            **_numbers("cbid", "cid", "device", "context", "bytes", "external ts", "shared memory"),
            **dict.fromkeys(("grid", "block"), NUMBERS),
            "kernel": Name("kernel"),
        },
    ),
    Events(
        "Operators",
        ("cpu_op", "operator"),
        "operator",
        {
            **_LINKS,
            **_numbers("Sequence number", "Fwd thread id", "Device", "Profiler Event Index", "finished", "stream"),
            **dict.fromkeys(("Input Dims", "Input Strides"), NUMBERS),
            "Input type": Each(Name("code")),
            **_COLLECTIVE,
        },
    ),
    Events(
        "Ranges",
        ("user_annotation", "gpu_user_annotation"),
        "range",
        {**_LINKS, **_numbers("Profiler Event Index", "device", "stream", "finished")},
    ),
    Events(
        "Python",
        ("python_function",),
        "python",
        {**_LINKS, **_numbers("Python id", "Python parent id", "Python module id", "Python thread", "finished")},
    ),
    Events("The recorder", ("overhead",), "overhead", _LINKS),
    Events("The profiler's span", ("trace",), "range", _numbers("Op count")),
    Events(
        "Synchronization",
        ("cuda_sync", "cuda_event"),
        "call",
        {
            **_LINKS,
            **_numbers("device", "context", "stream", "wait_on_stream", "wait_on_cuda_event_record_corr_id"),
            **_numbers("wait_on_cuda_event_id", "event_id", "cuda_event_id"),
            "cuda_sync_kind": Name("call"),
        },
    ),
    Events("Other devices", ("mtia_ccp_events", "mtia_workloadd", "hpu_op", "xpu_op"), "kernel", _WORK),
    Events(
        "Memory",
        ("cpu_instant_event", ""),
        "range",
        {**_LINKS, **_numbers("Bytes", "Device Id", "Device Type", "Total Allocated", "Total Reserved", "finished")},
        ("i", "I"),
    ),
    Events("Arrows", ("ac2g", "fwdbwd", "async", "async_cpu_to_gpu", "async_gpu"), "code", {}, ("s", "t", "f")),
)
"""Moments without a category are allocations as old recorders write them."""

LABELS: Mapping[str, Mapping[str, Rule]] = {
    "process_name": {"name": Name("process")},
    "process_labels": {"labels": Name("process")},
    "process_sort_index": {"sort_index": NUMBER},
    "thread_name": {"name": Name("thread")},
    "thread_sort_index": {"sort_index": NUMBER},
}
"""What events of the phase M may name."""

METADATA_ENTRIES, RUN_ENTRIES = "entries of the metadata", "entries of run.json"
"""What they are called in the account of what was left out."""

_DEVICE_PROPERTIES: Mapping[str, Rule] = {
    "id": NUMBER,
    "name": Name("device"),
    **_numbers("totalGlobalMem", "computeMajor", "computeMinor", "maxThreadsPerBlock", "maxThreadsPerMultiprocessor"),
    **_numbers("regsPerBlock", "warpSize", "sharedMemPerBlock", "numSms", "regsPerMultiprocessor"),
    **_numbers("sharedMemPerBlockOptin", "sharedMemPerMultiprocessor"),
}
_BACKEND = one_of("nccl", "gloo", "mpi", "ucc", "rccl", "xccl", "hccl", "cpu:gloo,cuda:nccl", "cuda:nccl", "cpu:gloo")
_THREADS = Fields(_numbers("intra_op", "inter_op", "usable_cores"), METADATA_ENTRIES)
_DEVICE_LIST = Shaped("numbers of devices", rb'"[\d, -]{0,200}"')

METADATA: Mapping[str, Rule] = {
    "schemaVersion": NUMBER,
    "displayTimeUnit": one_of("ms", "ns"),
    "baseTimeNanoseconds": NUMBER,
    "deviceProperties": Each(Fields(_DEVICE_PROPERTIES, METADATA_ENTRIES)),
    "distributedInfo": Fields(
        {
            "backend": _BACKEND,
            **_numbers("rank", "world_size", "pg_count"),
            "nccl_version": VERSION,
            "pg_config": Each(
                Fields({"backend_config": _BACKEND, "pg_size": NUMBER, "ranks": NUMBERS}, METADATA_ENTRIES)
            ),
        },
        METADATA_ENTRIES,
    ),
    **dict.fromkeys(
        (
            *(
                "cuda_runtime_version",
                "cuda_driver_version",
                "cupti_version",
                "hip_runtime_version",
                "hip_driver_version",
            ),
            *("roctracer_version", "torch_version", "pytorch_version"),
        ),
        VERSION,
    ),
    **dict.fromkeys(("record_shapes", "profile_memory", "with_stack", "with_modules", "with_flops"), FLAG),
    "tbperf": Fields(
        {
            "schema": one_of("tbperf-trace/1"),
            "phase": Name("phase"),
            **_numbers("first_step", "rank", "batch", "prefetch", "pid", "unix_ns", "perf_ns"),
            "visible_devices": _DEVICE_LIST,
            "threads": _THREADS,
            "tbperf": VERSION,
        },
        METADATA_ENTRIES,
    ),
}
"""Of the metadata of a trace."""


# Exports of Nsight Systems


@dataclass(frozen=True)
class Table:
    """One table of an export.  Columns that are not named here are left out; so are values of another type."""

    numbers: str
    """Columns of numbers, and of their numbers in enumerations."""
    strings: Mapping[str, str] = field(default_factory=dict)
    """Columns that refer to registered strings, and of which kind these are."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Columns of texts, and of which kind these are."""


_SPAN = "start end eventClass globalTid"
_ON_DEVICE = (
    "start end deviceId contextId greenContextId streamId correlationId globalPid graphId graphNodeId graphExecId"
)
_LIBRARY = Table(_SPAN, {"nameId": "code", "textId": "nvtx"})
_CALLS = Table(f"{_SPAN} correlationId returnValue", {"nameId": "call"})
_MPI = Table(
    f"{_SPAN} commHandle tag remoteRank size collSendSize collRecvSize rootRank", {"nameId": "code", "textId": "nvtx"}
)

TABLES: Mapping[str, Table] = {
    "CUPTI_ACTIVITY_KIND_KERNEL": Table(
        f"{_ON_DEVICE} launchType cacheConfig registersPerThread gridX gridY gridZ blockX blockY blockZ"
        " staticSharedMemory dynamicSharedMemory localMemoryPerThread localMemoryTotal gridId sharedMemoryExecuted"
        " sharedMemoryLimitConfig clusterX clusterY clusterZ clusterSchedulingPolicy maxPotentialClusterSize"
        " maxActiveClusters",
        dict.fromkeys(("demangledName", "shortName", "mangledName"), "kernel"),
    ),
    "CUPTI_ACTIVITY_KIND_MEMCPY": Table(
        f"{_ON_DEVICE} bytes copyKind srcKind dstKind srcDeviceId srcContextId dstDeviceId dstContextId migrationCause"
        " copyCount"
    ),
    "CUPTI_ACTIVITY_KIND_MEMSET": Table(f"{_ON_DEVICE} value bytes memKind"),
    "CUPTI_ACTIVITY_KIND_GRAPH_TRACE": Table(_ON_DEVICE),
    "CUPTI_ACTIVITY_KIND_SYNCHRONIZATION": Table(f"{_ON_DEVICE} syncType deprecatedSyncType eventId eventSyncId"),
    "CUPTI_ACTIVITY_KIND_CUDA_EVENT": Table(f"{_ON_DEVICE} timestamp eventId eventSyncId"),
    "CUPTI_ACTIVITY_KIND_RUNTIME": _CALLS,
    "CUPTI_ACTIVITY_KIND_DRIVER": _CALLS,
    "CUPTI_ACTIVITY_KIND_OVERHEAD": Table(f"{_SPAN} correlationId overheadType returnValue", {"nameId": "overhead"}),
    "PROFILER_OVERHEAD": Table(f"{_SPAN} overheadType returnValue", {"nameId": "overhead"}),
    "CUDA_GPU_MEMORY_USAGE_EVENTS": Table(
        "start globalPid deviceId contextId bytes memKind memoryOperationType correlationId"
    ),
    "CUDA_GRAPH_EVENTS": Table(
        f"{_SPAN} graphId originalGraphId graphExecId graphNodeId originalGraphNodeId", {"nameId": "call"}
    ),
    "CUDNN_EVENTS": _LIBRARY,
    "CUBLAS_EVENTS": _LIBRARY,
    "MPI_P2P_EVENTS": _MPI,
    "MPI_COLLECTIVES_EVENTS": _MPI,
    "MPI_OTHER_EVENTS": _MPI,
    "MPI_START_WAIT_EVENTS": _MPI,
    "NVTX_EVENTS": Table(
        "start end eventType rangeId category color globalTid endGlobalTid domainId",
        {"textId": "nvtx"},
        {"text": "nvtx"},
    ),
    "OSRT_API": Table(f"{_SPAN} returnValue nestingLevel", {"nameId": "code"}),
    "ThreadNames": Table("priority globalTid", {"nameId": "thread"}),
    "PROCESSES": Table("globalPid pid", texts={"name": "process"}),
    "GPU_METRICS": Table("rawTimestamp timestamp typeId metricId value"),
    "TARGET_INFO_GPU_METRICS": Table("typeId sourceId metricId", texts={"typeName": "device", "metricName": "metric"}),
    "TARGET_INFO_GPU": Table(
        "vmId id isDiscrete l2CacheSize totalMemory memoryBandwidth clockRate smCount cuDevice revision nodeMask"
        " constantMemory maxIPC maxRegistersPerBlock maxShmemPerBlock maxShmemPerBlockOptin maxShmemPerSm"
        " maxRegistersPerSm threadsPerWarp asyncEngines maxWarpsPerSm maxBlocksPerSm maxThreadsPerBlock maxBlockDimX"
        " maxBlockDimY maxBlockDimZ maxGridDimX maxGridDimY maxGridDimZ computeMajor computeMinor smMajor smMinor",
        texts={"name": "device", "chipName": "device"},
    ),
    "TARGET_INFO_CUDA_DEVICE": Table("gpuId cudaId pid"),
    "TARGET_INFO_CUDA_CONTEXT_INFO": Table(
        "nullStreamId hwId vmId processId deviceId contextId parentContextId isGreenContext"
    ),
    "TARGET_INFO_CUDA_STREAM": Table("streamId hwId vmId processId contextId priority flag"),
    "TARGET_INFO_SESSION_START_TIME": Table("utcEpochNs systemClockNs"),
    "ANALYSIS_DETAILS": Table("globalVid duration startTime stopTime"),
    "DIAGNOSTIC_EVENT": Table("timestamp timestampType source severity globalPid", texts={"text": "prose"}),
    "META_DATA_EXPORT": Table("", texts={"name": "prose", "value": "prose"}),
    "EXPORT_META_DATA": Table("", texts={"name": "prose", "value": "prose"}),
    "StringIds": Table("id"),
    **dict.fromkeys(
        (
            *("ENUM_CUDA_MEMCPY_OPER", "ENUM_CUDA_MEM_KIND", "ENUM_CUDA_DEV_MEM_EVENT_OPER", "ENUM_CUDA_MEMPOOL_OPER"),
            *("ENUM_CUDA_MEMPOOL_TYPE", "ENUM_CUDA_KERNEL_LAUNCH_TYPE", "ENUM_CUDA_KRENEL_LAUNCH_TYPE"),
            *("ENUM_CUDA_FUNC_CACHE_CONFIG", "ENUM_CUDA_SHARED_MEM_LIMIT_CONFIG", "ENUM_CUDA_UNIF_MEM_MIGRATION"),
            *("ENUM_CUDA_UNIF_MEM_ACCESS_TYPE", "ENUM_CUPTI_STREAM_TYPE", "ENUM_CUPTI_SYNC_TYPE"),
            *("ENUM_CUPTI_OVERHEAD_TYPE", "ENUM_NSYS_EVENT_TYPE", "ENUM_DIAGNOSTIC_SEVERITY_LEVEL"),
            *("ENUM_DIAGNOSTIC_SOURCE_TYPE", "ENUM_DIAGNOSTIC_TIMESTAMP_SOURCE"),
        ),
        Table("id", texts={"name": "prose", "label": "prose"}),
    ),
}
"""Tables of any version (`NVTX_EVENTS_V2`): rows of the program's own processes, and the strings that they refer to."""

EXPORT_METADATA = (
    *("EXPORT_PRODUCT_NAME", "EXPORT_PRODUCT_VERSION", "EXPORT_SCHEMA_VERSION", "EXPORT_SCHEMA_VERSION_MAJOR"),
    *("EXPORT_SCHEMA_VERSION_MINOR", "EXPORT_SCHEMA_VERSION_MICRO"),
)
"""Rows of the tables of metadata."""


# Run folders: the files that docs/run-folder.md describes

_ARGUMENTS = """
agnostic_nms amp angle augment auto_augment batch bgr box cache cfg channels_last classes close_mosaic cls cls_pw
cls_remap compile conf copy_paste copy_paste_mode cos_lr cutmix data degrees deterministic device dfl dgrad dis
distill_model dlam dlog dnn dropout dynamic embed epochs erasing exist_ok fliplr flipud format fraction freeze hsv_h
hsv_s hsv_v imgsz iou kobj line_width lr0 lrf mask_ratio max_det mixup mode model momentum mosaic multi_scale name nbs
nms opset optimize optimizer overlap_mask patience perspective plots pose pretrained profile project quantize rect
resume retina_masks rle save save_conf save_crop save_dir save_frames save_json save_period save_txt scale seed shear
show show_boxes show_conf show_labels simplify single_cls source split stream_buffer task time tracker translate val
verbose vid_stride visualize warmup_bias_lr warmup_epochs warmup_momentum weight_decay workers workspace
"""
"""Parameters of Ultralytics' trainers, validators and predictors."""

_ARGUMENT = Either(NUMBER, NUMBERS, Name("argument"))
_STEPS_OF_A_PHASE: Mapping[str, Rule] = {
    "steps": NUMBER,
    **dict.fromkeys(
        ("unprofiled", "profiled"),
        Fields(
            {**_numbers("count", "median_dur_ns", "mean_dur_ns"), "stages_mean_ns": Keyed("stage", NUMBER)}, RUN_ENTRIES
        ),
    ),
    **_numbers("slowdown", "recorder_ns"),
}
_COVERAGE = Fields(_numbers("lowest", "median", "mean"), RUN_ENTRIES)
_TORCH_DEVICE = Shaped("`cpu`, `cuda:0`", rb'"(?:cpu|mps|(?:cuda|xpu|hip|npu)(?::\d{1,3})?)"')

RUN: Mapping[str, Rule] = {
    "schema": Shaped("`tbperf-run/1`", rb'"tbperf-run/\d{1,4}"'),
    "tbperf": VERSION,
    "status": one_of("ended", "running"),
    "command": Each(Name("argument")),
    **_numbers("started_unix_ns", "ended_unix_ns", "exit_code"),
    "environment": Fields(
        {"CUDA_VISIBLE_DEVICES": _DEVICE_LIST, **_numbers("OMP_NUM_THREADS", "RANK", "LOCAL_RANK", "WORLD_SIZE")},
        RUN_ENTRIES,
    ),
    "hardware": Fields(
        {
            "cpu": Name("device"),
            **_numbers("cores", "usable_cores", "core_quota", "memory_bytes"),
            "system": Shaped(
                "system and architecture", rb'"(?:Linux|Darwin|Windows) (?:x86_64|aarch64|arm64|AMD64|ppc64le)"'
            ),
            "gpus": Each(Fields({**_numbers("index", "memory_bytes"), "name": Name("device")}, RUN_ENTRIES)),
            "gpus_unseen": Name("prose"),
            "driver": VERSION,
        },
        RUN_ENTRIES,
    ),
    "profiler": Fields(
        {
            "options": Fields(
                dict.fromkeys(("with_stack", "record_shapes", "profile_memory", "with_flops", "with_modules"), FLAG),
                RUN_ENTRIES,
            ),
            "plans": Keyed(
                "phase", Fields(_numbers("wait", "warmup", "active", "repeat", "steps", "settle"), RUN_ENTRIES)
            ),
        },
        RUN_ENTRIES,
    ),
    "versions": Fields(
        dict.fromkeys(("python", "torch", "cuda", "cudnn", "ultralytics", "nvtx", "driver", "hip", "nsys"), VERSION),
        RUN_ENTRIES,
    ),
    "arguments": Keyed("phase", Fields(dict.fromkeys(_ARGUMENTS.split(), _ARGUMENT), RUN_ENTRIES)),
    "processes": Each(
        Fields({"pid": NUMBER, "phase": Name("phase"), "rank": NUMBER, "device": _TORCH_DEVICE}, RUN_ENTRIES)
    ),
    "windows": Each(
        Fields(
            {
                "phase": Name("phase"),
                **_numbers("pid", "first_step", "steps", "planned_steps", "warmup_steps"),
                "threads": _THREADS,
                "coverage": _COVERAGE,
            },
            RUN_ENTRIES,
        )
    ),
    "steps": Keyed("phase", Fields(_STEPS_OF_A_PHASE, RUN_ENTRIES)),
    "outside_steps": Keyed("stage", Fields(_numbers("count", "total_ns"), RUN_ENTRIES)),
    "coverage": _COVERAGE,
    "notes": Each(Name("prose")),
}
"""Of `run.json`."""

LOGGED_STEP: Mapping[str, Rule] = {
    "phase": Name("phase"),
    **_numbers(
        "step",
        "thread",
        "unix_ns",
        "dur_ns",
        "images",
        "queue",
        "cpu_ns",
        "main_cpu_ns",
        "main_queued_ns",
        "recorder_ns",
    ),
    "stages": Keyed("stage", NUMBER),
    "profiler": one_of("off", "warmup", "active", "beside"),
}
"""Of each line of `steps.*.jsonl`."""

LOADED_BATCH: Mapping[str, Rule] = {
    **_numbers("worker", "pid", "parent", "batch", "records"),
    "names": Each(Name("code")),
}
"""Of what stands before the records of each batch in `loader.*.bin`."""

HARDWARE_HEADER: Mapping[str, Rule] = {
    "schema": Shaped("`tbperf-hardware/1`", rb'"tbperf-hardware/\d{1,4}"'),
    "columns": Each(Each(Either(NUMBER, Name("series")))),
    "absent": Keyed("series", Name("prose")),
}
"""Of the first line of `hardware.jsonl`; the others are lists of numbers."""

HARDWARE_ROW = Shaped("a list of numbers", rb"\[(?:[\d.,\s+eE-]|null)*\]")
