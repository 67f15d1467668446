"""Train a row of the paper, or a table of them: `python run.py --help`."""

import os
import signal
import sys

import hydra
from hydra._internal.utils import get_args
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.markup import escape

from sasa.config import compose
from sasa.errors import InputError
from sasa.train.interrupt import stop_at_once

console = Console()
complaints = Console(stderr=True)
failures: list[str] = []
tables: dict[tuple[str, str, str, str], None] = {}  # table, scale, variant and outputs folder of each row of a sweep
labels: list[str] = []  # of the rows of a sweep, as far as they have come


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    """One run; a failed one is noted, and does not stop the others of a sweep."""
    from sasa import job
    from sasa.report.paper import published
    from sasa.report.run import print_line, print_next, print_run

    sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    label = compose.label(get_args().overrides)
    labels.append(label)
    try:
        config = compose.checked(cfg)
        identity = compose.identity("python run.py")
        if not sweep:
            label = identity.title
        if sweep and identity.table:
            tables[identity.table, config.scale.name, ",".join(identity.variant), config.output] = None
        result, folder = job.run(config, identity, console)
    except (InputError, job.RunFailed) as error:
        failures.append(f"{label}: {error}")
        if not HydraConfig.get().launcher._target_.endswith("BasicLauncher"):
            raise  # the row ran in another process: only an exception tells the first one
        if sweep:
            complaints.print(f"[red]{escape(failures[-1])}[/]", highlight=False, soft_wrap=True, emoji=False)
        return
    if sweep:
        print_line(label, result, console)
        return
    row = (identity.table, identity.row) if identity.table and identity.row else identity.like
    print_run(result, published(*row) if row else None, folder, console)
    if identity.table is None:
        print_next(console)


def conclude() -> int:
    """After the last row: the tables of a sweep, and what failed. Returns the exit status."""
    if tables:
        from sasa.report.terminal import print_table

        for table, scale, variant, output in tables:
            print_table(table, scale, variant, output, console)
    for failure in failures:
        complaints.print(f"[red]failed[/]  {escape(failure)}", highlight=False, soft_wrap=True, emoji=False)
    return 1 if failures else 0


def command_line() -> int:
    """Check the command line, run Hydra, and turn whatever went wrong into a message and an exit status."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra passes errors on, and they are told below
    signal.signal(signal.SIGTERM, stop_at_once)
    try:
        compose.register()
        arguments = get_args()
        compose.check_overrides(arguments.overrides, sweep=arguments.multirun)
        main()
        if arguments.multirun and not labels and not (arguments.cfg or arguments.info):
            raise InputError(f"{' '.join(arguments.overrides)}: no run, for a list or range is empty")
        return conclude()
    except (InputError, HydraException, OmegaConfBaseException, OSError) as error:
        message = f"{error}: {error.__cause__}" if error.__cause__ else str(error)
        lines = [
            line
            for line in message.splitlines()
            if line.strip() and not line.lstrip().startswith(("full_key", "object_type", "reference_type"))
        ]
        complaints.print(f"[red]error[/]  {escape(' '.join(lines))}", highlight=False, soft_wrap=True, emoji=False)
        return 2
    except KeyboardInterrupt as stop:
        conclude()
        return 128 + getattr(stop, "number", signal.SIGINT)


if __name__ == "__main__":
    sys.exit(command_line())
