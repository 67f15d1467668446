"""Train a row of the paper, or a table of them: `python run.py --help`."""

import sys

from sasa.command import main  # @hydra.main is called there; fish completes scripts alone that have these words

if __name__ == "__main__":
    sys.exit(main())
