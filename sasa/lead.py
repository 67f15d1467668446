"""One run in several processes, of torchrun or of Slurm: the first has the command line, and leads; the others follow."""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sasa import quick


def ranks() -> int:
    """How many processes there are for a run: torchrun says so in the environment."""
    return int(os.environ["WORLD_SIZE"]) if "RANK" in os.environ and "WORLD_SIZE" in os.environ else 1


def led(work: Callable[[], int]) -> int:
    """Do the work in the first process, while the others take part in what it trains; returns the exit status."""
    if ranks() == 1:
        return work()
    with quick.imports():  # torch takes seconds to import, and much of the work needs none
        from sasa.train.session import follow, lead

    return lead(work) if os.environ["RANK"] == "0" else follow()


def last_word(message: str) -> None:
    """Leave word of an error for the report that torchrun ends with, long after the lines where it was told."""
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        with suppress(OSError):
            Path(path).write_text(json.dumps({"message": message, "timestamp": int(time.time())}))
