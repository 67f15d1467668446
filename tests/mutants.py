"""Which small faults in the code the tests notice: a sample of cosmic-ray's mutants (`make mutants`).

Each is made in a copy of the working tree and tried on its module's tests, the quick ones of a file and those that are
named, in a fork of this process, which has the libraries loaded. Those that survive are printed with what was changed,
and then their share.
"""

import argparse
import importlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from difflib import unified_diff
from pathlib import Path

import pytest
from cosmic_ray.commands import init
from cosmic_ray.mutating import use_mutation
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import use_db
from cosmic_ray.work_item import MutationSpec

CODE = ("sasa/nn", "sasa/models", "sasa/data", "sasa/train", "sasa/report/verdicts.py")
TESTS = {  # of the first pattern that fits; those that notice most come first
    "nn/stem.py": "attention recipe ops_stem networks",
    "nn/*": "attention recipe networks",
    "models/retinanet.py": "recipe detection",
    "models/build.py": "recipe detection",
    "models/*": "recipe networks timm_models",
    "data/box*": "detection data_shapes",
    "data/coco.py": "detection",
    "data/scene.py": "data_shapes",
    "data/render.py": "data_shapes",
    "data/shapes.py": "data_shapes held_out",
    "data/archive.py": "data_readers",
    "data/hugging_face.py": "data_readers",
    "data/build.py": "data_shapes data_readers held_out data_loaders",
    "data/*": "data_shapes data_readers data_loaders",
    "train/detection*": "detection recipe",
    "train/average_precision.py": "detection",
    "train/attention_maps.py": "attention_maps",
    "train/sheet.py": "sheet detection",
    "train/pretrained.py": "evaluate detection",
    "train/device.py": "sweep held_out",
    "train/interrupt.py": "cli::test_a_signal_whose_exception_is_lost_is_obeyed_at_the_next_step loop",
    "train/hunger.py": "loop",
    "train/ranks.py": "ranks recipe",
    "train/exact.py": "ranks recipe",
    "train/track.py": "tracking::test_tensorboard_has_the_same_values "
    "tracking::test_a_key_without_a_network_is_written_nowhere_and_the_run_finishes_offline "
    "tracking::test_an_offline_run_holds_all_of_it_and_keeps_its_id_when_it_goes_on",
    "train/*": "loop recipe batch_norm held_out cli::test_a_run_says_what_came_out_and_is_not_trained_again",
    "report/verdicts.py": "verdicts report",
}
LIBRARIES = (
    "torch torchvision.models.detection timm hydra hypothesis faster_coco_eval rich.progress datasets webdataset"
)
IN_TYPES = "ReplaceBinaryOperator_BitOr_"  # `int | None` is changed into what no Python can read


def sample(files: Sequence[Path], count: int, seed: int) -> Iterator[MutationSpec]:
    """Mutants spread over the files by their lines, and in each over the places that can be changed."""
    lines = {file: len(file.read_text().splitlines()) for file in files}
    chance = random.Random(seed)
    with use_db(":memory:") as database:
        for file in files:
            init([file], database, {})
            places: dict[tuple[object, object], list[MutationSpec]] = {}
            for item in database.work_items:
                (mutant,) = item.mutations
                if IN_TYPES not in mutant.operator_name:
                    places.setdefault((mutant.start_pos, mutant.end_pos), []).append(mutant)
            share = min(len(places), round(count * lines[file] / sum(lines.values())))
            for place in sorted(chance.sample(list(places), share)):
                yield chance.choice(places[place])


def tests_of(module: Path) -> list[str]:
    """The tests that stand guard over a module; none where TESTS does not know it."""
    names = next((names for pattern, names in TESTS.items() if module.match(f"sasa/{pattern}")), "")
    parts = [name.partition("::") for name in names.split()]
    return [f"tests/test_{file}.py{colons}{test}" for file, colons, test in parts]


def passes(tests: Sequence[str]) -> bool:
    """Whether tests pass, the slow ones of files apart, in a fork of this process."""
    named = [test for test in tests if "::" in test]
    files = [test for test in tests if "::" not in test]
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_CPU, (300, 300))  # a fault may go on for ever
        signal.alarm(1800)
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(silence, stream)
        runs = [["-mnot slow", *files]] * bool(files) + [named] * bool(named)
        os._exit(any(pytest.main(["-qx", "-n0", "-pno:cacheprovider", *words]) for words in runs))
    _, status = os.waitpid(child, 0)
    with suppress(ProcessLookupError):  # what the tests left running
        os.killpg(child, signal.SIGKILL)
    return status == 0


def main() -> int:
    """Try the sample; returns 1 where the tests fail without any fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("code", nargs="*", default=CODE, metavar="PATH", help=f"default: {' '.join(CODE)}")
    parser.add_argument("--count", type=int, default=200, help="mutants in all (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="which ones (default: 0)")
    options = parser.parse_args()
    files = [x for path in map(Path, options.code) for x in ([path] if path.suffix else sorted(path.glob("*.py")))]
    unknown = [str(file) for file in files if not (file.is_file() and tests_of(file))]
    if unknown or not files:
        parser.error(
            f"{', '.join(unknown or options.code)}: which tests guard it is not known; give one of {', '.join(CODE)}"
        )
    for library in LIBRARIES.split():
        importlib.import_module(library)
    with tempfile.TemporaryDirectory() as folder:
        listed = ("git", "ls-files", "--cached", "--others", "--exclude-standard")
        for name in subprocess.run(listed, capture_output=True, text=True, check=True).stdout.splitlines():
            if Path(name).is_file():
                Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(name, Path(folder, name))
        os.chdir(folder)
        sys.path[0], sys.dont_write_bytecode = folder, True
        os.environ.update(OMP_NUM_THREADS="1", PYTHONPATH=folder)
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # files change within a second
        tried, survived = 0, 0
        green: set[str] = set()
        for mutant in sample(files, options.count, options.seed):
            tests = tests_of(mutant.module_path)
            new = [test for test in tests if test not in green]
            if new and not passes(new):
                print(f"as the code is, these fail: {' '.join(new)}")
                return 1
            green.update(new)
            operator = get_operator(mutant.operator_name)()
            try:
                with use_mutation(mutant.module_path, operator, mutant.occurrence) as (before, after):
                    alive = passes(tests)
            except AttributeError:  # cosmic-ray finds no name to replace in `except (tarfile.TarError, OSError)`
                continue
            tried, survived = tried + 1, survived + alive
            said = f"{tried:4d}  {'SURVIVED' if alive else 'noticed '}  {mutant.module_path}:{mutant.start_pos[0]}"
            print(said, flush=True)
            if alive:
                changed = unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
                print("\n".join(f"        {line}" for line in list(changed)[3:]), flush=True)
    print(f"{survived} of {tried} survive: {100 * survived / max(1, tried):.1f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
