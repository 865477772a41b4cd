"""``python -m tbperf``."""

from tbperf.cli import main

if __name__ == "__main__":
    main()
