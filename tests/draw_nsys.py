"""A drawn timeline as an export of Nsight Systems: columns of 2024's schema, as far as they hold anything."""

import contextlib
import sqlite3

from tbperf.trace import COPY_KINDS, HOST_MEMORY, NONE

GRID, BLOCK = (64, 2, 1), (256, 1, 1)
"""Of all kernels."""
_PID = 4242
_PROCESS = (1 << 48) | (_PID << 24)
_ACTIVITY = (
    "start INTEGER NOT NULL, end INTEGER NOT NULL, deviceId INTEGER NOT NULL, contextId INTEGER NOT NULL,"
    " greenContextId INTEGER, streamId INTEGER NOT NULL, correlationId INTEGER, globalPid INTEGER"
)
_CALL = "start INTEGER NOT NULL, end INTEGER NOT NULL, eventClass INTEGER NOT NULL, globalTid INTEGER"
TABLES = {
    "StringIds": "id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL",
    "META_DATA_EXPORT": "name TEXT NOT NULL, value TEXT",
    "TARGET_INFO_SESSION_START_TIME": "utcEpochNs INTEGER, utcTime TEXT, localTime TEXT",
    "TARGET_INFO_SYSTEM_ENV": "globalVid INTEGER, devStateName TEXT, name TEXT, nameEnum INTEGER, value TEXT",
    "PROCESSES": "globalPid INTEGER, pid INTEGER, name TEXT",
    "ThreadNames": "nameId INTEGER NOT NULL, priority INTEGER, globalTid INTEGER",
    "CUPTI_ACTIVITY_KIND_KERNEL": f"{_ACTIVITY}, demangledName INTEGER NOT NULL, shortName INTEGER NOT NULL,"
    " registersPerThread INTEGER NOT NULL, gridX INTEGER NOT NULL, gridY INTEGER NOT NULL, gridZ INTEGER NOT NULL,"
    " blockX INTEGER NOT NULL, blockY INTEGER NOT NULL, blockZ INTEGER NOT NULL,"
    " staticSharedMemory INTEGER NOT NULL, dynamicSharedMemory INTEGER NOT NULL, graphNodeId INTEGER",
    "CUPTI_ACTIVITY_KIND_MEMCPY": f"{_ACTIVITY}, bytes INTEGER NOT NULL, copyKind INTEGER NOT NULL, srcKind INTEGER,"
    " dstKind INTEGER, srcDeviceId INTEGER, dstDeviceId INTEGER",
    "CUPTI_ACTIVITY_KIND_MEMSET": f"{_ACTIVITY}, value INTEGER NOT NULL, bytes INTEGER NOT NULL, memKind INTEGER",
    "CUPTI_ACTIVITY_KIND_GRAPH_TRACE": f"{_ACTIVITY}, graphId INTEGER NOT NULL, graphExecId INTEGER NOT NULL",
    "CUPTI_ACTIVITY_KIND_RUNTIME": f"{_CALL}, correlationId INTEGER, nameId INTEGER NOT NULL,"
    " returnValue INTEGER NOT NULL, callchainId INTEGER",
    "OSRT_API": f"{_CALL}, nameId INTEGER NOT NULL, returnValue INTEGER NOT NULL, nestingLevel INTEGER,"
    " callchainId INTEGER NOT NULL",
    "PROFILER_OVERHEAD": "start INTEGER NOT NULL, end INTEGER NOT NULL, globalTid INTEGER, nameId INTEGER NOT NULL,"
    " returnValue INTEGER NOT NULL",
    "NVTX_EVENTS": "start INTEGER NOT NULL, end INTEGER, eventType INTEGER NOT NULL, rangeId INTEGER, category INTEGER,"
    " color INTEGER, text TEXT, globalTid INTEGER, endGlobalTid INTEGER, textId INTEGER, domainId INTEGER",
    "CUDA_GPU_MEMORY_USAGE_EVENTS": "start INTEGER NOT NULL, globalPid INTEGER NOT NULL, deviceId INTEGER NOT NULL,"
    " contextId INTEGER NOT NULL, address INTEGER, bytes INTEGER NOT NULL, memKind INTEGER NOT NULL,"
    " memoryOperationType INTEGER NOT NULL",
    "GPU_METRICS": "rawTimestamp INTEGER, timestamp INTEGER, typeId INTEGER NOT NULL, metricId INTEGER NOT NULL,"
    " value INTEGER NOT NULL",
    "TARGET_INFO_GPU_METRICS": "typeId INTEGER NOT NULL, sourceId INTEGER NOT NULL, typeName TEXT NOT NULL,"
    " metricId INTEGER NOT NULL, metricName TEXT NOT NULL",
    "DIAGNOSTIC_EVENT": "timestamp INTEGER NOT NULL, timestampType INTEGER NOT NULL, source INTEGER NOT NULL,"
    " severity INTEGER NOT NULL, text TEXT NOT NULL, globalPid INTEGER",
}
_COPY_KINDS = {"HtoD": 1, "DtoH": 2, "DtoD": 8, "HtoH": 9, "PtoP": 10}
_MEMORY_KINDS = {"pageable": 0, "pinned": 1, "managed": 4}
_DEVICE, _UNKNOWN = 2, 7
_PUSH_POP = 59
EPOCH_NS = 1_700_000_000_000_000_000


class Export:
    """An export that is being written; tables exist from their first row on, as in a lazy export."""

    def __init__(self, path):
        self.database = sqlite3.connect(path)
        self._strings = {}
        self._made = set()

    def add(self, table, **row):
        """Add a row; columns that are not given are null, or 0 where that is not allowed."""
        if table not in self._made:
            self._made.add(table)
            self.database.execute(f"CREATE TABLE {table} ({TABLES[table]})")
        required = {
            part.split()[0]: 0 for part in TABLES[table].split(",") if "NOT NULL" in part and "TEXT" not in part
        }
        row = {name: value for name, value in required.items() if name != "id"} | row
        marks = ", ".join("?" * len(row))
        values = f"({', '.join(row)}) VALUES ({marks})" if row else "DEFAULT VALUES"
        insert = f"INSERT INTO {table} {values}"
        self.database.execute(insert, list(row.values()))

    def string(self, text):
        """Register a string."""
        if text not in self._strings:
            self._strings[text] = len(self._strings) + 1
            self.add("StringIds", id=self._strings[text], value=text)
        return self._strings[text]

    def close(self):
        self.database.commit()
        self.database.close()


def write_nsys(timeline, path):
    with contextlib.closing(Export(path)) as export:
        export.add("META_DATA_EXPORT", name="EXPORT_PRODUCT_VERSION", value="2024.5.1.113")
        export.add("TARGET_INFO_SESSION_START_TIME", utcEpochNs=EPOCH_NS)
        for category, name, start, end, stream, device, correlation, size in timeline.gpu:
            _write_work(export, category, name, _span(start, end), stream, device, correlation, size)
        for category, name, start, end, thread, correlation in timeline.host:
            _write_host(export, category, name, _span(start, end), _global_tid(thread), correlation)


def _write_work(export, category, name, span, stream, device, correlation, size):
    common = span | {"deviceId": device, "contextId": 1, "streamId": stream, "correlationId": correlation}
    common["globalPid"] = _PROCESS
    if category == "kernel":
        code = export.string(name)
        shape = dict(zip(("gridX", "gridY", "gridZ", "blockX", "blockY", "blockZ"), (*GRID, *BLOCK), strict=True))
        export.add("CUPTI_ACTIVITY_KIND_KERNEL", **common, **shape, demangledName=code, shortName=code)
    elif category == "gpu_memset":
        export.add("CUPTI_ACTIVITY_KIND_MEMSET", **common, bytes=size, memKind=_DEVICE)
    else:
        kind = name.split()[1]
        memory = next((_MEMORY_KINDS[word] for word in HOST_MEMORY if word in name.lower()), _UNKNOWN)
        sides = {"HtoD": (memory, _DEVICE), "DtoH": (_DEVICE, memory)}.get(kind, (_DEVICE, _DEVICE))
        assert kind in COPY_KINDS
        export.add(
            "CUPTI_ACTIVITY_KIND_MEMCPY",
            **common,
            bytes=size,
            copyKind=_COPY_KINDS[kind],
            srcKind=sides[0],
            dstKind=sides[1],
        )


def _write_host(export, category, name, span, thread, correlation):
    common = span | {"globalTid": thread}
    if category == "cuda_runtime":
        calls = {} if correlation == NONE else {"correlationId": correlation}
        export.add("CUPTI_ACTIVITY_KIND_RUNTIME", **common, **calls, nameId=export.string(f"{name}_v7000"))
    elif category == "os":
        export.add("OSRT_API", **common, nameId=export.string(name))
    elif category == "overhead":
        export.add("PROFILER_OVERHEAD", **common, nameId=export.string(name))
    elif category == "cpu_op":
        export.add("NVTX_EVENTS", **common, eventType=_PUSH_POP, text=f"{name}, op_id = 7", domainId=0)
    else:
        export.add("NVTX_EVENTS", **common, eventType=_PUSH_POP, text=name, domainId=0)


def _span(start, end):
    return {"start": 10**9 + round(start * 1000), "end": 10**9 + round(end * 1000)}


def _global_tid(thread):
    """Return the id of a thread of the one process; Kineto's overhead lies on a thread of its own."""
    return _PROCESS | (int(thread[1]) & 0xFFFFFF)
