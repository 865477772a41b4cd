"""Ranges of other people's programs serve as stages where a pattern names them."""

import pytest

import tbperf
from tbperf.errors import UsageError
from tests.draw import Timeline

WORKER = (1, 2)
RUN = (
    Timeline()
    .range("train/load #1", 0, 40)
    .range("train/model", 40, 90)
    .range("inner", 50, 60)
    .range("tbperf/save", 90, 100)
    .kernel(60, 80, call=(45, 46))
    .kernel(85, 95, call=(55, 56), thread=WORKER)
)


def stages(path, pattern):
    return {
        row.stage: (row.host_ns // 1000, row.gpu_ns // 1000)
        for row in tbperf.analyze(path, stage_from=pattern).traces[0].stages
    }


@pytest.mark.parametrize(
    "write", [lambda folder: RUN.write(folder / "t.json"), lambda folder: RUN.nsys(folder / "t.db")]
)
def test_a_group_names_the_stage_and_work_of_any_thread_belongs_to_it(tmp_path, write):
    path = write(tmp_path)

    assert stages(path, r"^train/(\w+)") == {"load": (40, 0), "model": (50, 30), "save": (10, 0)}
    assert stages(path, r"inner|model") == {"model": (40, 20), "inner": (10, 10), "save": (10, 0), None: (40, 0)}
    assert stages(path, None) == {"save": (10, 0), None: (90, 30)}


def test_a_pattern_that_is_none_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no regular expression"):
        tbperf.analyze(RUN.write(tmp_path / "t.json"), stage_from="train/(")
