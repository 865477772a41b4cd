"""What a change would save is what the simulation of the changed program says."""

import pytest

from tbperf.analyses import examine
from tbperf.analyses.replay import Change, Replay
from tests.simulate import MS, Fault, Program, simulate

PROGRAMS = [
    Program(steps=3, ops=12),
    Program(steps=3, ops=12, ranks=2, faults=(Fault("exchange", 3 * MS),)),
    Program(steps=3, ops=12, faults=(Fault("reads", 6), Fault("starved", 4 * MS))),
    Program(steps=3, ops=12, faults=(Fault("blocking", 20e6), Fault("syncs", 4), Fault("slow host", 4))),
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_with_nothing_changed_the_recorded_run_comes_out(program):
    replay = Replay(simulate(program).trace(), 0)

    assert replay.saved(Change()) == 0


@pytest.mark.parametrize(
    ("fault", "change", "ranks"),
    [
        (Fault("starved", 6 * MS), "dataloader", 1),
        (Fault("in process", 5 * MS), "dataloader", 1),
        (Fault("python", 6 * MS), "python: loss", 1),
        (Fault("suppression", 6 * MS), "stage: nms", 1),
        (Fault("reads", 12), "waits: reads", 1),
        (Fault("syncs", 12), "waits: sync", 1),
        (Fault("allocations", 1 * MS), "allocation", 1),
        (Fault("validation", 6 * MS), "validation", 1),
        (Fault("pageable", 10e6), "pageable", 1),
        (Fault("exposed", 40e6), "exposed copies", 1),
        (Fault("fp32", 3), "tensor_cores", 1),
        (Fault("fp32", 3), "tensor_cores", 2),
        (Fault("casts", 20_000), "cast and copy kernels", 1),
        (Fault("exchange", 4 * MS), "collectives", 2),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_what_a_change_saves_is_what_the_changed_program_saves(fault, change, ranks):
    """Within four percent of the window: the program without the fault lacks what surrounded it, too."""
    run = simulate(Program(steps=4, ops=16, ranks=ranks, faults=(fault,)))

    found = {row.change: row for row in examine(run.trace()).what_if}

    truth = run.window_ns - simulate(run.program.without(fault.name)).window_ns
    assert found[change].high_ns == pytest.approx(truth, abs=0.04 * run.window_ns)
    assert found[change].low_ns <= found[change].high_ns


@pytest.mark.parametrize("beside", [(), (Fault("slow host", 20),)])
def test_uploads_on_a_stream_of_their_own_save_what_the_changed_program_saves(beside):
    """Where the host runs ahead they are hidden; behind a slow host there is nothing to hide behind."""
    run = simulate(Program(steps=4, ops=16, faults=(Fault("exposed", 20e6), *beside)))

    found = {row.change: row for row in examine(run.trace()).what_if}["copies beside kernels"]

    aside = simulate(Program(steps=4, ops=16, faults=(Fault("aside", 20e6), *beside)))
    truth = run.window_ns - aside.window_ns
    assert found.high_ns == pytest.approx(truth, abs=0.01 * run.window_ns)
    assert (truth > 0.1 * run.window_ns) == (not beside)


def test_of_uploads_that_a_graph_may_read_nothing_is_said():
    run = simulate(Program(steps=4, ops=16, faults=(Fault("exposed", 20e6),)))
    run.timeline.call("cudaGraphLaunch", 1, 2)

    assert "copies beside kernels" not in {row.change for row in examine(run.trace()).what_if}


def test_waits_cost_nothing_where_batches_are_late_anyway():
    """The device is done long before the next batch comes: reading values of it is free."""
    program = Program(steps=4, ops=16, faults=(Fault("starved", 12 * MS), Fault("reads", 12)))

    found = {row.change: row for row in examine(simulate(program).trace()).what_if}

    assert found["synchronizing"].high_ns < 0.02 * simulate(program).window_ns
