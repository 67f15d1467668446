"""A whole Slurm on this machine, from Debian's packages: `python tests/slurm/cluster.py FOLDER` runs one until Ctrl-C.

munged, MariaDB, slurmdbd, slurmctld and a slurmd a node, as root, without systemd or cgroups; each on a port of its own and
with its files in one folder. Nothing of an installed Slurm is read or changed. All of it ends with the process that began it.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

PACKAGES = "slurm-wlm munge slurmdbd mariadb-server"
PROGRAMS = ("munged", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd", "sacctmgr", "srun")
NODES = ("n1", "n2")
START_SECONDS = 180
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG

SLURM_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={database_daemon}
AccountingStoragePass={folder}/munge.socket
JobAcctGatherType=jobacct_gather/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait={kill_wait}
SlurmdTimeout={node_timeout}
ReturnToService=2
MessageTimeout=10
{nodes}
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime={grace} MaxTime=60 State=UP
PartitionName=high Nodes=ALL PriorityTier=2 PreemptMode=OFF MaxTime=60 State=UP
"""

SLURMDBD_CONF = """
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={database_daemon}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=root
StorageLoc=slurm_acct
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
"""


def lacking() -> str:
    """Why no Slurm can be run here, or nothing."""
    if os.geteuid() != 0:
        return "a Slurm of the tests' own wants root"
    missing = [name for name in PROGRAMS if not shutil.which(name, path=SYSTEM_PATH)]
    return f"without {', '.join(missing)}: apt-get install {PACKAGES}" if missing else ""


@dataclass
class Cluster:
    """A running Slurm: `call` runs a program of it, `environment` is what reaches it from elsewhere."""

    folder: Path
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Variables that Slurm's programs find it by."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def start(self, name: str, *command: str) -> None:
        """A daemon in the foreground of its own session, that ends with this process."""
        with (self.folder / f"{name}.out").open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=os.environ | self.environment | {"PATH": f"{SYSTEM_PATH}:{os.environ['PATH']}"},
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    def start_node(self, name: str) -> None:
        """The daemon of one node."""
        self.start(name, "slurmd", "-D", "-N", name)

    def kill_node(self, name: str) -> None:
        """What a power cut does: the daemon of a node and all that runs below it are gone."""
        daemon = self.daemons.pop(name)
        daemon.kill()
        daemon.wait(10)
        for process in self.processes(name):
            kill(process)

    def processes(self, name: str) -> list[int]:
        """What runs on a node."""
        return [process for step in steps(self.folder, name) for process in (step, *below(step))]

    def freeze(self, name: str) -> None:
        """Stop the tasks on a node, unnoticed by Slurm, until it sends them SIGCONT, as it does before it preempts."""
        for process in self.processes(name):
            with suppress(OSError):
                if Path(f"/proc/{process}/comm").read_text().startswith("python"):
                    os.kill(process, signal.SIGSTOP)

    def call(self, *command: str, seconds: float = 30) -> str:
        """What a program of Slurm prints."""
        done = subprocess.run(
            command, env=os.environ | self.environment, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def wait(self, what: str, *command: str, expected: str = "", seconds: float = START_SECONDS) -> None:
        """Until a program succeeds and prints what is expected."""
        end = time.monotonic() + seconds
        while True:
            done = subprocess.run(
                command, env=os.environ | self.environment, capture_output=True, text=True, timeout=30, check=False
            )
            if done.returncode == 0 and expected in done.stdout:
                return
            dead = [name for name, daemon in self.daemons.items() if daemon.poll() is not None]
            if dead or time.monotonic() > end:
                logs = "\n".join(tail(path) for path in sorted(self.folder.glob("*.[lo][ou][gt]")))
                raise RuntimeError(f"no {what} ({', '.join(dead) or 'too slow'}): {done.stdout}{done.stderr}\n{logs}")
            time.sleep(0.2)

    def stop(self) -> None:
        """End the jobs, then the daemons, the last one first."""
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(["scancel", "--state=RUNNING"], env=os.environ | self.environment, timeout=20, check=False)
        for name in [*NODES, *reversed(self.daemons)]:
            daemon = self.daemons.pop(name, None)
            if daemon is None:
                continue
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait(10)
            for process in self.processes(name):
                kill(process)


@contextmanager
def running(folder: Path, grace: int = 0, kill_wait: int = 5, node_timeout: int = 10) -> Iterator[Cluster]:
    """A Slurm with two nodes of one core, and two partitions: `high` preempts what runs in `low`, which is requeued."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "state").mkdir(exist_ok=True)
    database, database_daemon, controller, *ports = free_ports(3 + len(NODES))
    host = socket.gethostname().split(".")[0]
    nodes = "\n".join(
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 RealMemory=4000 State=UNKNOWN"
        for name, port in zip(NODES, ports, strict=True)
    )
    known = {"folder": folder, "database": database, "database_daemon": database_daemon}
    times = {"grace": grace, "kill_wait": kill_wait, "node_timeout": node_timeout}
    (folder / "slurm.conf").write_text(
        SLURM_CONF.format(host=host, controller=controller, nodes=nodes, **known, **times)
    )
    (folder / "slurmdbd.conf").write_text(SLURMDBD_CONF.format(**known))
    (folder / "slurmdbd.conf").chmod(0o600)  # it does not begin otherwise
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    cluster = Cluster(folder)
    try:
        start_daemons(cluster, database)
        yield cluster
    finally:
        cluster.stop()


def start_daemons(cluster: Cluster, database: int) -> None:
    """From the key to the nodes, each when what it needs is there."""
    folder, data = cluster.folder, cluster.folder / "database"
    cluster.start(
        "munged", "munged", "-F", "--force", f"--socket={folder}/munge.socket", f"--key-file={folder}/munge.key",
        f"--log-file={folder}/munged.log", f"--pid-file={folder}/munged.pid", f"--seed-file={folder}/munged.seed",
    )  # fmt: skip
    subprocess.run(
        ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=root", "--skip-test-db"],
        capture_output=True,
        timeout=120,
        check=True,
    )
    cluster.start(
        "mariadbd", "mariadbd", "--no-defaults", f"--datadir={data}", "--user=root", f"--port={database}",
        "--bind-address=127.0.0.1", f"--socket={folder}/m.socket", f"--pid-file={folder}/m.pid", "--skip-grant-tables",
        "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M",
    )  # fmt: skip
    cluster.wait("database", "mariadb", f"--socket={folder}/m.socket", "-e", "select 1")
    cluster.start("slurmdbd", "slurmdbd", "-D")
    cluster.wait("slurmdbd", "sacctmgr", "-n", "show", "cluster")
    cluster.call("sacctmgr", "-i", "add", "cluster", "test")
    cluster.start("slurmctld", "slurmctld", "-D")
    for name in NODES:
        cluster.start_node(name)
    cluster.wait("nodes", "sinfo", "-h", "-p", "low", "-t", "idle", "-o", "%D", expected=str(len(NODES)))


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at, nor will: each process looks at others first, below those that jobs meet at."""
    sockets: list[socket.socket] = []
    port = 10_000 + os.getpid() % 900 * 10
    while len(sockets) < count:
        with suppress(OSError):
            sockets.append(socket.create_server(("127.0.0.1", port)))
        port += 1
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def steps(folder: Path, node: str) -> list[int]:
    """The slurmstepd processes of one node of this cluster: they have its log open, also when its daemon is gone."""
    log, found = str(folder / f"slurmd-{node}.log"), []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it may end meanwhile
            stepd = (path / "cmdline").read_bytes().startswith(b"slurmstepd")
            if stepd and log in {os.readlink(file) for file in (path / "fd").iterdir()}:
                found.append(int(path.name))
    return found


def below(process: int) -> list[int]:
    """The processes that a process began, in any of its threads, and those that they did."""
    children = []
    with suppress(OSError):
        children = [
            child for path in Path(f"/proc/{process}/task").glob("*/children") for child in path.read_text().split()
        ]
    return [one for child in children for one in (int(child), *below(int(child)))]


def kill(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def tail(path: Path) -> str:
    """The end of a log."""
    return f"{path.name}: " + " | ".join(path.read_text(errors="replace").splitlines()[-5:])


if __name__ == "__main__":
    if reason := lacking():
        sys.exit(reason)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with running(Path(sys.argv[1]).absolute()) as up:
        print("export " + " ".join(f"{name}={value}" for name, value in up.environment.items()), flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()
