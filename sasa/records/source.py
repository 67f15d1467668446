"""The repository that this copy of sasa is in: its commit, and what differs from it."""

import subprocess
from contextlib import suppress

from sasa.config import ROOT


def repository() -> str | None:
    """The folder of sasa's own repository; None for a sasa that was installed from a wheel."""
    return str(ROOT) if (ROOT / ".git").exists() else None


def commit() -> str:
    """The commit of this copy of sasa, with + where tracked files differ from it; "" where there is no repository."""
    return git("describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+").decode().strip()


def changes() -> bytes:
    """What differs from the commit, as a patch, whatever git's settings; nothing without a repository, or after 10 seconds."""
    return git("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--binary", "HEAD", timeout=10)


def git(*words: str, timeout: float | None = None) -> bytes:
    """What git says of the repository; nothing where there is none, or no git."""
    with suppress(OSError, subprocess.TimeoutExpired):
        if repository():
            command = ("git", "-C", str(ROOT), *words)
            return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout).stdout
    return b""
