"""A run starts and ends a second sooner each: as long takes Python's own housekeeping of all the objects of PyTorch."""

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
    """End as sys.exit does, with all threads, what atexit knows and what was printed, but do not take the modules apart.

    No destructor runs: whoever has written a file has closed it. (With gc.freeze Python itself would end nearly as soon, and
    Triton's bindings would call all that is left a leak.)
    """
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            if stream:
                stream.flush()
    except BaseException:  # such as a full disk, of which Python tells at its own end
        sys.exit(code)
    os._exit(code)
