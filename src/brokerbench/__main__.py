"""``python -m brokerbench``: the command line."""

from brokerbench.bench.cli import main

if __name__ == "__main__":
    main()
