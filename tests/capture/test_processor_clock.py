"""Processor time of a step, measured on real work."""

import os
import threading
import time
from pathlib import Path

import pytest
from tbperf_inside.steps import ProcessorClock


def burn(seconds):
    over = time.thread_time() + seconds
    while time.thread_time() < over:
        pass


def spent(work):
    clock = ProcessorClock()
    before = clock.read()
    work()
    found = clock.read().since(before)
    clock.close()
    return found


def test_work_of_the_loop_is_its_own_and_the_process_s():
    found = spent(lambda: burn(0.05))

    assert found["main_cpu_ns"] >= 50_000_000
    assert found["cpu_ns"] >= 50_000_000


def test_waiting_takes_no_processor_time():
    found = spent(lambda: time.sleep(0.1))

    assert found["main_cpu_ns"] < 50_000_000


def test_work_of_other_threads_is_the_process_s_alone():
    def work():
        thread = threading.Thread(target=burn, args=(0.1,))
        thread.start()
        thread.join()

    found = spent(work)

    assert found["cpu_ns"] >= 100_000_000
    assert found["main_cpu_ns"] < 50_000_000


@pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="this system does not tell of its queues")
def test_two_loops_on_one_core_wait_for_each_other():
    cores = os.sched_getaffinity(0)

    def work():
        thread = threading.Thread(target=_hash)
        thread.start()
        _hash()
        thread.join()

    try:
        os.sched_setaffinity(0, {min(cores)})
        found = spent(work)
    finally:
        os.sched_setaffinity(0, cores)

    assert found["main_queued_ns"] > 10_000_000


def _hash():
    """Work for a fifth of a second that does not hold the interpreter's lock."""
    import hashlib

    over = time.thread_time() + 0.2
    block = bytes(1 << 20)
    while time.thread_time() < over:
        hashlib.sha256(block)


def test_a_clock_follows_the_thread_that_asks():
    """One that is read from another thread tells of that thread."""
    clock = ProcessorClock()
    burn(0.05)
    mine = clock.read()
    found = []
    thread = threading.Thread(target=lambda: found.append(clock.read()))
    thread.start()
    thread.join()
    clock.close()

    assert mine.main_cpu_ns > found[0].main_cpu_ns
    assert found[0].cpu_ns >= mine.cpu_ns
