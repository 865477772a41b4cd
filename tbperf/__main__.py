"""``python -m tbperf``, and ``tbperf``: Ctrl-C ends it without a traceback from here on, also while it imports."""

import os
import signal

TYPE_CHECKING = False  # typing.TYPE_CHECKING, whose import takes as long as all of this
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> "NoReturn":
    """Run the command line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(130))
    from tbperf.cli import main as run  # noqa: PLC0415 - it takes its time

    run()


if __name__ == "__main__":
    main()
