"""TensorBoard's event files: scalars and texts, written with its own messages and without torch."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.summary.writer.record_writer import RecordWriter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tbperf.tensorboard.scalars import Series


def encode_events(series: Sequence[Series], texts: Mapping[str, str], unix_ns: int) -> Iterator[bytes]:
    """Yield an event file, piece by piece.

    ``texts``: Markdown by tag, shown at step 0; ``unix_ns``: stands for moments that are not known.
    """
    yield _record(Event(wall_time=unix_ns / 1e9, file_version="brain.Event:2"))
    for tag, markdown in texts.items():
        yield _record(_event(_text(tag, markdown), 0, unix_ns))
    for one in series:
        for step, began, value in zip(one.step, one.unix_ns, one.value, strict=True):
            yield _record(_event(Summary.Value(tag=one.tag, simple_value=value), step, began or unix_ns))


def _event(value: Summary.Value, step: int, unix_ns: int) -> Event:
    return Event(wall_time=unix_ns / 1e9, step=step, summary=Summary(value=[value]))


def _text(tag: str, markdown: str) -> Summary.Value:
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    content = markdown.encode("utf-8", "replace")
    plugin = SummaryMetadata.PluginData(plugin_name="text")
    return Summary.Value(
        tag=tag,
        metadata=SummaryMetadata(plugin_data=plugin),
        tensor=TensorProto(dtype="DT_STRING", string_val=[content], tensor_shape=shape),
    )


def _record(event: Event) -> bytes:
    file = io.BytesIO()
    RecordWriter(file).write(event.SerializeToString())
    return file.getvalue()
