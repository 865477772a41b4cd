"""What the hardware did while the steps ran."""

from tbperf.analyses import examine
from tests.draw import Timeline


def drawn():
    timeline = Timeline().step(1, 100, 200).step(2, 200, 300).kernel(100, 300)
    for at, watts in ((50, 900), (110, 200), (150, 220), (210, 300), (350, 900)):
        timeline.sample(at, "power_watts", watts, device=0)
    for at, mask in ((110, 0), (150, 0x4), (210, 0x24), (250, 0x24)):
        timeline.sample(at, "throttle_reasons", mask, device=0)
    return examine(timeline.trace())


def test_only_samples_of_the_steps_count_and_steps_are_held_against_each_other():
    (power,) = drawn().hardware

    assert (power.series, power.device, power.samples) == ("power_watts", 0, 3)
    assert (power.min, power.mean, power.p50, power.max) == (200, 240, 220, 300)
    assert (power.low_step, power.high_step) == (1, 2)


def test_reasons_for_lower_clocks_are_told_apart():
    told = {row.reason: (row.samples, row.share, row.start_ns, row.dur_ns) for row in drawn().throttling}

    assert told == {"power cap": (3, 0.75, 150_000, 100_000), "temperature": (2, 0.5, 210_000, 40_000)}
