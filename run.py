"""Train a row of the paper, or a table of them: `python run.py --help`."""

from sasa.command import program  # @hydra.main is called there; fish completes scripts alone that have these words

if __name__ == "__main__":
    program()
