"""run.py that sends itself a signal, at the same place however busy the machine is.

`python tests/signalled.py SIGTERM train_step 5 ...` does so before the fifth call of Trainer.train_step. Of several ranks it
is the one that SIGNALLED_RANK names, and not where torchrun has started them again.
"""

import os
import signal
import sys
from itertools import count
from typing import Any

from sasa.command import program
from sasa.train.loop import Trainer

number, name, last = signal.Signals[sys.argv[1]], sys.argv[2], int(sys.argv[3])
del sys.argv[1:4]
method, calls = getattr(Trainer, name), count(1)
first = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
chosen = first and os.environ.get("RANK") == os.environ.get("SIGNALLED_RANK")


def signalled(*words: Any, **named: Any) -> Any:
    if chosen and next(calls) == last:
        os.kill(os.getpid(), number)
    return method(*words, **named)


setattr(Trainer, name, signalled)
if __name__ == "__main__":
    program()
