"""Record files and what they say of processes: read or none, written whole or not at all."""

import json
import os
import socket
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from zipfile import Path as ZipPath

Place = Path | ZipPath  # a file or folder, on its own or in an archive


def load_json(path: Place) -> dict[str, Any]:
    """The object in a file; OSError or ValueError where there is none that can be read."""
    content = json.loads(path.read_bytes())
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, not an object")
    return content


def read_json(path: Place) -> dict[str, Any] | None:
    """The object in a file, or None where there is none that can be read."""
    try:
        return load_json(path)
    except (OSError, ValueError, RecursionError):
        return None


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file beside the path, flush it to the disk, and rename it: a reader sees the old file or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def cores() -> int:
    """Cores that this process may use, of those that the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def alive(pid: int | None, host: str | None) -> bool:
    """Whether a process exists. One on another host, or on Windows, cannot be seen from here and is believed."""
    if host != socket.gethostname() or os.name == "nt":  # where os.kill sends Ctrl-C
        return True
    if pid is None or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def now() -> str:
    """The local time to the second, in ISO 8601."""
    return datetime.fromtimestamp(time.time()).astimezone().isoformat(timespec="seconds")


def seconds_between(earlier: str, later: str) -> float | None:
    """From one such time to another; None where either is none."""
    try:
        return (
            datetime.fromisoformat(later).astimezone() - datetime.fromisoformat(earlier).astimezone()
        ).total_seconds()
    except (ValueError, OverflowError, OSError):
        return None
