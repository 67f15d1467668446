"""Train a row of the paper, or a table of them: `python run.py --help`."""

import sys

from sasa.command import main

if __name__ == "__main__":
    sys.exit(main())
