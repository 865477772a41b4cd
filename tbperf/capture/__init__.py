"""The recorder: runs a command with tbperf inside it and leaves a folder with traces.

options.py    what to record
launch.py     runs the command, and finishes the folder; whatever fails, the command runs
command.py    finds and starts the command as a shell does
running.py    waits for it, and passes signals on
folder.py     the run folder and its files
outcome.py    what was recorded: from journals, step logs and traces to run.json
summary.py    steps in a few numbers
hardware.py   the machine, as far as it does not change
dataset.py    a small generated dataset, for demos and tests
bootstrap/    the part that runs inside the recorded program; knows nothing of this package
"""

from tbperf.capture.command import CommandNotExecutableError, CommandNotFoundError, NoProcessError
from tbperf.capture.launch import Recording, record, run_in_place
from tbperf.capture.options import RecordOptions

__all__ = [
    "CommandNotExecutableError",
    "CommandNotFoundError",
    "NoProcessError",
    "RecordOptions",
    "Recording",
    "record",
    "run_in_place",
]
