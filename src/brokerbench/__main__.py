"""``python -m brokerbench``: the command line."""

import sys

if not sys.flags.safe_path:
    # ``-m`` puts the working directory first, where a stranger's ``queue.py`` would be imported instead.
    del sys.path[0]

from brokerbench.bench.cli import main

if __name__ == "__main__":
    main()
