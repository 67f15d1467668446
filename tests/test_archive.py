"""Records that travel: archives, their merging, what came with the project, and the pages made from them."""

import json
from pathlib import Path
from zipfile import ZipFile

import pytest
from conftest import ROOT, TINY, Ended, call, module, only
from records import add_run, add_table

from sasa.records.archive import merge, write_archive
from sasa.records.collect import collect, collect_with_shipped, shipped
from sasa.records.weights import find_weights
from sasa.report.pages.site import Site
from sasa.report.paper import find_table
from sasa.report.tables.compare import compare


def report(*words: object, cwd: Path) -> Ended:
    """`python -m sasa.report` to its end."""
    return module("sasa.report", *words, cwd=cwd)


def archive_of(output: Path, path: Path, weights: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    found = collect(output)
    write_archive(path, found.runs, found.places, weights)
    return path


def test_a_real_run_travels_and_is_not_trained_again(trained: tuple[Path, Ended], tmp_path: Path) -> None:
    output, _ = trained
    folder = only(output).parent
    plain = report("archive", "--output", output, "--to", tmp_path / "plain.zip", cwd=tmp_path)
    assert plain.code == 0, plain.text
    assert (tmp_path / "plain.zip").stat().st_size < 8000
    with ZipFile(tmp_path / "plain.zip") as archive:
        assert not [name for name in archive.namelist() if str(output).encode() in archive.read(name)]
    assert report("archive", "--with-weights", "--output", output, cwd=tmp_path).code == 0
    there = tmp_path / "elsewhere"
    merged = report("merge", "results.zip", "plain.zip", "--output", there, cwd=tmp_path)
    assert merged.out == f"1 run added to {there}, 1 known there already\n", merged.text
    copied = there / folder.relative_to(output)
    assert (copied / "weights.safetensors").read_bytes() == (folder / "weights.safetensors").read_bytes()
    (copied / "weights.safetensors").unlink()
    assert report("merge", "results.zip", "--output", there, cwd=tmp_path).code == 0  # without them it takes them, too
    assert (copied / "weights.safetensors").read_bytes() == (folder / "weights.safetensors").read_bytes()
    assert find_weights(str(copied.parent.relative_to(there)), str(there)) == copied / "weights.safetensors"
    before, after = (json.loads((one / "result.json").read_text()) for one in (folder, copied))
    kept = ("key", "accuracy", "costs", "device", "versions", "commit", "seconds", "started", "backend", "memory")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    again = call(*TINY, f"output={there}")
    assert (
        f"run is the run of {folder.relative_to(output)}, which is finished: nothing is trained"
        in again.text.replace("\n", "")
    )


def test_results_of_two_machines_in_one_table(tmp_path: Path) -> None:
    """Seed 0 is on both, seeds 1 and 2 on one each."""
    for name, seeds in (("one", (0, 1)), ("two", (0, 2))):
        for seed in seeds:
            add_run(tmp_path / name, "table4", "k3", seed=seed, top1=50 + seed, device=name, commit=f"{name}+")
        add_run(tmp_path / name, "table4", "k5", seed=9, status="failed")
        archive_of(tmp_path / name, tmp_path / f"{name}.zip")
    came, had, other = merge([tmp_path / "one.zip", tmp_path / "two.zip"], tmp_path / "both")
    assert ([run.seed for run in came], [run.seed for run in had], other) == ([0, 1, 2], [0], [])
    (line, *_) = compare(find_table("table4"), collect(tmp_path / "both").runs, "demo").lines
    assert [(run.seed, run.device, run.commit) for run in line.runs] == [
        (0, "one", "one+"),
        (1, "one", "one+"),
        (2, "two", "two+"),
    ]
    (tmp_path / "both" / came[2].folder / "hidden").touch()
    assert merge([tmp_path / "two.zip"], tmp_path / "both")[0] == []


def test_merging_leaves_another_run_of_the_same_name_as_it_is(tmp_path: Path) -> None:
    add_run(tmp_path / "theirs", "table4", "k3", top1=50.0, key="theirs")
    own = add_run(tmp_path / "mine", "table4", "k3", top1=60.0, key="mine")
    before = (own / "result.json").read_bytes()
    merge([archive_of(tmp_path / "theirs", tmp_path / "theirs.zip")], tmp_path / "mine")
    assert (own / "result.json").read_bytes() == before
    assert {run.key for run in collect(tmp_path / "mine").runs} == {"mine", "theirs"}


def test_runs_of_another_version_are_left_out_and_told(tmp_path: Path) -> None:
    add_run(tmp_path / "theirs", "table4", "k3", semantics=1)
    add_run(tmp_path / "theirs", "table4", "k5")
    path = archive_of(tmp_path / "theirs", tmp_path / "theirs.zip")
    merged = report("merge", path, "--output", "mine", cwd=tmp_path)
    added, left_out = merged.out.splitlines()
    assert added == "1 run added to mine, 0 known there already"
    assert left_out.startswith("1 run left out: of another version of sasa")
    assert [run.row for run in collect(tmp_path / "mine").runs] == ["k5"]


def test_runs_are_chosen_by_their_overrides(tmp_path: Path) -> None:
    for variant, seed in (("", 0), ("train.lr=1", 0), ("", 1)):
        add_run(tmp_path / "outputs", "table4", "k3", seed=seed, variant=variant)
    for words, count in (((), 3), (("--variant", ""), 2), (("--variant", "train.lr=1"), 1), (("--variant", "x"), 0)):
        done = report("archive", *words, cwd=tmp_path)
        assert (f"{count} run" in done.out) if count else ("there is no such finished run" in done.err)


def test_the_same_records_make_the_same_bytes(tmp_path: Path) -> None:
    add_table(tmp_path / "out", "table6", seeds=2)
    one, two = (archive_of(tmp_path / "out", tmp_path / name) for name in ("one.zip", "two.zip"))
    assert one.read_bytes() == two.read_bytes()


def test_what_tells_of_the_machine_stays_behind(tmp_path: Path) -> None:
    config = {"output": "/home/me/out", "data": {"root": "/home/me/data", "size": 64}, "kernel": {"backend": "cpu"}}
    command = "python run.py table4=k3 data.root=/home/me/data output=/home/me/out seed=1"
    add_run(tmp_path / "out", "table4", "k3", config=config, command=command, host="my-host", tracker_url="https://me")
    (run,) = collect(archive_of(tmp_path / "out", tmp_path / "a.zip")).runs
    assert (run.command, run.config) == ("python run.py table4=k3 seed=1", {"data": {"size": 64}})
    assert (run.host, run.pid, run.tracker_url) == ("", None, "")


@pytest.mark.slow
def test_shipped_results_stand_beside_one_s_own(tmp_path: Path) -> None:
    """In a fresh clone the pages show them; later they never mix with runs of one's own."""
    add_table(tmp_path / "elsewhere", "table5", scale="cifar10", seeds=3)
    archive_of(tmp_path / "elsewhere", tmp_path / "results" / "cifar10.zip")
    output = tmp_path / "outputs"
    fresh = Site(output)
    page = fresh.render("index.html")
    assert "shipped with the project" in page
    assert page.count('<tr class="finished"') == 3
    run = next(run for run in fresh.runs if run.row == "relative")
    assert len(fresh.curves(run)["validation"]["x"]) > 1
    add_run(output, "table5", "relative", scale="cifar10", seed=0, top1=20.0)
    runs = collect_with_shipped(output).runs
    own, came = (compare(find_table("table5"), runs, "cifar10", variant).lines[-1] for variant in ("", "shipped"))
    assert (own.score().mean, own.seeds, came.seeds) == (20.0, 1, 3)
    built = report("dashboard", cwd=tmp_path)
    assert built.code == 0, built.text
    shown = report("table5", "--format", "csv", cwd=tmp_path)
    assert len([line for line in shown.out.splitlines() if ",shipped," in line]) == 3


@pytest.mark.skipif(not shipped(ROOT / "outputs"), reason="no results are shipped yet")
def test_what_is_shipped_is_small_and_whole() -> None:
    archives = shipped(ROOT / "outputs")
    assert sum(path.stat().st_size for path in archives) <= 2_000_000
    for found in map(collect, archives):
        assert found.warnings == ()
        assert {run.status for run in found.runs} == {"finished"}
        assert all(run.commit and run.device and run.versions and not run.host for run in found.runs)


def test_the_document_of_what_is_shipped_is_made_from_it() -> None:
    made = module(
        "sasa.report", "results", "--output", "results/cifar10_small.zip", "--notes", "results/cifar10_small.md"
    )
    assert (ROOT / "docs/results.md").read_text() == made.out


def test_tables_read_an_archive_as_if_it_were_a_folder(tmp_path: Path) -> None:
    add_table(tmp_path / "out", "table6", seeds=2)
    path = archive_of(tmp_path / "out", tmp_path / "a.zip")
    folder, archive = (report("table6", "--output", one, "--format", "markdown", cwd=tmp_path) for one in ("out", path))
    assert folder.out == archive.out != ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["archive", "table44"], "unknown table 'table44'"),
        (["archive", "--scale", "cifar"], "unknown scale 'cifar'. Expected one of demo"),
        (["archive", "table5"], "there is no such finished run in outputs"),
        (["archive", "--to", "results.tar"], "expected a name that ends in .zip"),
        (["archive", "--to", "taken/results.zip"], "cannot write taken/results.zip"),
        (["archive", "--with-weights"], "weights.safetensors"),
        (["merge", "none.zip"], "none.zip: there is no such file"),
        (["merge", "taken"], "taken is no archive of runs: taken: cannot be read: File is not a zip file"),
        (["merge", "empty.zip"], "empty.zip is no archive of runs: it holds none"),
        (["merge", "damaged.zip"], "damaged.zip is damaged at run/metrics.jsonl: copy it again"),
        (["merge", "locked.zip"], "result.json' is encrypted, password required"),
        (["merge", "outside.zip"], "../outside, which is no place for runs"),
        (["merge", "hidden.zip"], ".locks/run, which is no place for runs"),
    ],
)
def test_errors(tmp_path: Path, words: list[str], message: str) -> None:
    add_table(tmp_path / "outputs", "table6", seeds=1)
    record = (add_run(tmp_path / "other", "table6", "position") / "result.json").read_text()
    (tmp_path / "taken").write_text("text")
    with ZipFile(tmp_path / "empty.zip", "w"):
        pass
    for name, folder in (("outside", "../outside"), ("hidden", ".locks/run")):
        with ZipFile(tmp_path / f"{name}.zip", "w") as odd:
            odd.writestr(f"{folder}/result.json", record)
    with ZipFile(tmp_path / "damaged.zip", "w") as damaged:
        damaged.writestr("run/result.json", record)
        damaged.writestr("run/metrics.jsonl", "whole")
    path = tmp_path / "damaged.zip"
    path.write_bytes(path.read_bytes().replace(b"whole", b"holes"))
    locked = path.read_bytes()
    for start in (b"PK\3\4\x14\0", b"PK\1\2\x14\3\x14\0"):  # of a member's header: its flags follow
        locked = locked.replace(start + b"\0", start + b"\1")
    (tmp_path / "locked.zip").write_bytes(locked)
    done = report(*words, cwd=tmp_path)
    assert done.code == 2
    assert message in done.err
    assert len(done.err.splitlines()) == 1
    assert "Traceback" not in done.err
    assert not (tmp_path / "results.zip").exists()
