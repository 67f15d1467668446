"""Programs that load PyTorch start and end a second sooner: Python's own housekeeping of so many objects takes as long."""

import atexit
import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


@contextmanager
def imports() -> Iterator[None]:
    """While modules are imported the garbage collector, which would go through all of them again and again, rests."""
    works = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if works:
            gc.enable()


def leave(code: int) -> NoReturn:
    """End as sys.exit does, with all threads and what atexit knows, but do not take the modules apart one by one."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except OSError:
        sys.exit(code)  # which tells of it
    os._exit(code)
