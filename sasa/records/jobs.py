"""Jobs of Slurm: which one this process is of, which one has a run's key, and what Slurm says of them.

A key's job is noted when it is submitted, so that nobody else trains the run while the job waits in the queue.
"""

import json
import os
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sasa.records.files import read_json, write_atomically

ANSWER_SECONDS = 60


def own_job() -> str | None:
    """The job that this process is a task of, such as "17_3"; None for a process that our launcher did not submit."""
    if os.environ.get("SUBMITIT_EXECUTOR") != "slurm":
        return None
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID")


def note_job(output: Path, key: str, job: str, label: str, command: str) -> None:
    """Write down that a key, which people know by its label and its run's command, was given to a job."""
    write_atomically(job_file(output, key), json.dumps({"job": job, "label": label, "command": command}).encode())


def job_of(output: Path, key: str) -> str | None:
    """The job that a key was given to last."""
    job = (read_json(job_file(output, key)) or {}).get("job")
    return str(job) if job else None


def job_file(output: Path, key: str) -> Path:
    """Where a key's job is noted."""
    return output / ".locks" / f"{key}.job.json"


@dataclass(frozen=True)
class State:
    """What Slurm says of a job in its queue: PENDING, RUNNING and the like; on which nodes, and why it waits."""

    name: str
    nodes: str
    reason: str

    def __str__(self) -> str:
        where = f" on {self.nodes}" if self.nodes else ""
        return f"{self.name.lower()}{where or f' ({self.reason})'}"


def queued(jobs: Iterable[str]) -> dict[str, State] | None:
    """Those of some jobs that wait or run; None where Slurm does not answer."""
    asked = set(jobs)
    numbers = ",".join(sorted({job.split("_")[0] for job in asked}))
    if not numbers:
        return {}
    said = answer("squeue", "--noheader", "--array", "--format=%i|%T|%N|%r", f"--jobs={numbers}")
    if said is None:
        return None
    lines = [line.split("|") for line in said.splitlines()]
    return {line[0]: State(*line[1:4]) for line in lines if len(line) >= 4 and line[0] in asked}


def ending(job: str) -> str:
    """How Slurm's accounting says that a job ended, such as "CANCELLED by 1000"; nothing of one that never began."""
    said = answer("sacct", "--noheader", "--allocations", "--format=State%40", f"--jobs={job}") or ""
    return next((line.strip() for line in said.splitlines() if line.strip()), "")


def answer(*command: str) -> str | None:
    """What a program of Slurm prints; None where it is not there, or cannot reach Slurm. Slurm forgets jobs that are over."""
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
        if done.returncode == 0:
            return done.stdout
        if "Invalid job id" in done.stderr:
            return ""
    return None
