"""The dashboard without a browser: statistics, verdicts, curves, pages, escaping, time, and the report for W&B."""

import json
import math
import os
import random
import re
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
from records import add_many, add_run, add_table

from sasa.errors import InputError
from sasa.records.collect import collect
from sasa.report.pages import script
from sasa.report.pages.build import build
from sasa.report.pages.figures import FLOPS, PARAMS, all_runs, figures
from sasa.report.pages.files import POINTS, details, read_curves, run_id
from sasa.report.pages.site import Site, embedded
from sasa.report.pages.views import scales
from sasa.report.paper import TABLES
from sasa.report.tables.compare import compare
from sasa.report.verdicts import STATEMENTS, Verdict, contrast, judge, pooled, quantile, seeds_for

NASTY = "</script><script>alert(1)</script>"


@pytest.mark.parametrize(
    ("probability", "freedom", "expected"),
    [(0.975, 1, 12.706), (0.975, 2, 4.303), (0.975, 3, 3.182), (0.975, 10, 2.228), (0.95, 7, 1.895), (0.995, 5, 4.032)],
)
def test_quantile_is_the_printed_one(probability: float, freedom: int, expected: float) -> None:
    assert quantile(probability, freedom) == pytest.approx(expected, abs=5e-4)


def test_spread_is_pooled_over_rows_with_several_seeds() -> None:
    spread = pooled([[1.0, 3.0], [10.0, 10.0, 13.0], [7.0]])  # squares 2 and 6, degrees of freedom 1 and 2
    assert spread is not None
    assert spread.freedom == 3
    assert spread.deviation == pytest.approx(math.sqrt(8 / 3))
    assert pooled([[1.0], [2.0]]) is None


def test_contrast_of_means_of_rows() -> None:
    difference, errors = contrast([[1.0, 3.0], [5.0, 7.0]], [[2.0, 2.0, 2.0]])
    assert difference == 2.0
    assert errors == pytest.approx(math.sqrt((1 / 2 + 1 / 2) / 4 + 1 / 3))


def found(output: Path, name: str, scale: str = "demo") -> Verdict:
    return next(one for one in judge(collect(output).runs, scale) if one.statement.name == name)


def put_table6(output: Path, position: list[float], both: list[float], **fields: object) -> None:
    for row, values in (("position", position), ("content_position", both)):
        for seed, top1 in enumerate(values):
            add_run(output, "table6", row, seed=seed, top1=top1, **fields)  # type: ignore[arg-type]


def test_interval_of_a_known_case(tmp_path: Path) -> None:
    put_table6(tmp_path, [49.8, 50.0, 50.2], [49.9, 50.1, 50.3])
    one = found(tmp_path, "interaction")
    (claim,) = one.findings
    half = 2.776445 * 0.2 * math.sqrt(2 / 3)  # two samples of deviation 0.2, four degrees of freedom
    assert claim.difference == pytest.approx(-0.1)
    assert (claim.low, claim.high) == pytest.approx((-0.1 - half, -0.1 + half), abs=1e-4)
    assert one.verdict == "reproduced"  # the loss is less than one point
    assert claim.seeds == (3, 3)


@pytest.mark.parametrize(
    ("position", "both", "verdict", "why"),
    [
        ([40.0, 40.2, 40.4], [50.0, 50.2, 50.4], "not reproduced", "loses little"),
        ([49.5, 51.0, 48.0], [50.0, 51.0, 49.0], "not decidable yet", "seeds a row would decide"),
        ([50.0], [50.1], "not decidable yet", "one says nothing about chance"),
        ([50.0, 50.0], [50.0, 50.0], "not decidable yet", "do not differ at all"),
        ([50.0, 50.1], [], "not decidable yet", "no finished run of content_position"),
    ],
)
def test_verdicts(tmp_path: Path, position: list[float], both: list[float], verdict: str, why: str) -> None:
    put_table6(tmp_path, position, both)
    one = found(tmp_path, "interaction")
    assert one.verdict == verdict
    assert why in one.why


def test_rows_of_unlike_runs_decide_nothing(tmp_path: Path) -> None:
    put_table6(tmp_path, [50.0, 50.2], [50.1, 50.2])
    add_run(tmp_path, "table6", "position", seed=1, top1=50.2, epochs=3)
    assert "differ in data, epochs or the version" in found(tmp_path, "interaction").why


def test_scales_and_variants_are_not_mixed(tmp_path: Path) -> None:
    put_table6(tmp_path, [50.0, 50.2], [50.1, 50.2], scale="cifar10")
    put_table6(tmp_path, [50.0, 50.2], [50.1, 50.2], variant="train.epochs=1")
    assert found(tmp_path, "interaction").findings[0].difference is None
    assert found(tmp_path, "interaction", "cifar10").verdict == "reproduced"


def test_the_paper_s_own_differences_reproduce_every_statement(tmp_path: Path) -> None:
    for statement in STATEMENTS:
        add_table(tmp_path, statement.table, scale="imagenet", seeds=4, noise=0.05)
    assert {one.statement.name: one.verdict for one in judge(collect(tmp_path).runs, "imagenet")} == {
        statement.name: "reproduced" for statement in STATEMENTS
    }


def test_attention_that_is_not_cheaper_does_not_match(tmp_path: Path) -> None:
    add_table(tmp_path, "table1", seeds=3, noise=0.05)
    for seed in range(3):
        add_run(
            tmp_path,
            "table1",
            "conv_stem_50",
            seed=seed,
            top1=48 + seed / 10,
            paper_costs={"flops": 9e9, "params": 3e7},
        )
    one = found(tmp_path, "cheaper")
    assert one.verdict == "not reproduced"
    assert "not cheaper: FLOPs +10 %" in one.why


def test_a_seed_that_has_just_begun_unsettles_nothing(tmp_path: Path) -> None:
    add_table(tmp_path, "table1", seeds=3, noise=0.05)
    before = found(tmp_path, "cheaper")
    assert before.verdict == "reproduced"
    begun = {
        "status": "running",
        "costs": None,
        "paper_costs": None,
        "epochs": None,
        "started": "2026-02-01T00:00:00+00:00",
    }
    add_run(tmp_path, "table1", "conv_stem_50", seed=3, **begun)  # type: ignore[arg-type]
    assert found(tmp_path, "cheaper") == before


def test_networks_at_chance_or_at_the_ceiling_decide_nothing(tmp_path: Path) -> None:
    """Simulated as binomial: 1000 images of 8 classes, each a guess, or all but two known."""
    chance = random.Random(0)
    for number in range(60):
        level = (0.125, 0.998)[number % 2]
        output = tmp_path / str(number)
        put_table6(
            output,
            *([100 * sum(chance.random() < level for _ in range(1000)) / 1000 for _ in range(3)] for _ in range(2)),
        )
        verdict = found(output, "interaction")
        assert verdict.verdict == "not decidable yet"
        assert "at chance or at the ceiling" in verdict.why or "do not differ" in verdict.why


def test_the_advised_seeds_decide_four_times_of_five() -> None:
    """A difference of 1 with a deviation of 1 a seed, two seeds a row to begin with; decided by the same interval."""
    chance, decided, advised = random.Random(1), 0, 12
    t = quantile(0.975, 2 * advised - 2)
    assert seeds_for(1.0, quantile(0.975, 22) * math.sqrt(2 / 12), quantile(0.975, 22), 12) in (17, 18, 19)
    needed = seeds_for(1.0, t * math.sqrt(2 / advised), t, advised)
    assert needed is not None
    for _ in range(400):
        one, two = ([chance.gauss(mean, 1) for _ in range(needed)] for mean in (1, 0))
        difference, errors = contrast([one], [two])
        spread = pooled([one, two])
        assert spread is not None
        decided += difference > quantile(0.975, spread.freedom) * spread.deviation * errors
    assert 0.74 < decided / 400 < 0.9


def test_verdicts_on_the_terminal_and_as_json(tmp_path: Path) -> None:
    put_table6(tmp_path, [70.0, 70.2, 70.1], [70.3, 70.1, 70.2])
    words = [sys.executable, "-m", "sasa.report", "verdicts", "--output", str(tmp_path)]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "reproduced        Attention by position alone (q·r) costs little." in text
    assert "confirmed q·r alone loses little to q·k + q·r: -0.10 (interval " in text
    (setting,) = json.loads(
        subprocess.run([*words, "--format", "json"], capture_output=True, text=True, check=True).stdout
    )
    interaction = next(one for one in setting["statements"] if one["statement"]["name"] == "interaction")
    assert (setting["scale"], interaction["verdict"]) == ("demo", "reproduced")
    assert interaction["findings"][0]["low"] < -0.1 < interaction["findings"][0]["high"]
    wrong = subprocess.run([*words, "--scale", "dmeo"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, "Did you mean demo" in wrong.stderr) == (2, True)


def test_curves_are_thinned_and_survive_broken_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [
        json.dumps({"split": "train", "epoch": s // 100 + 1, "step": s, "loss": s / 7, "top1": 5.0})
        for s in range(1, 1001)
    ]
    lines.insert(3, '{"split": "train", "epoch": 1, "st')
    lines += [
        '{"split": "validation", "epoch": 1, "step": 100, "loss": NaN, "top1": 20}',
        "[]",
        '{"split": "train", "ep',
    ]
    path.write_text("\n".join(lines))
    curves = read_curves(path, 100)
    assert len(curves["train"]["x"]) in (POINTS - 1, POINTS)
    assert curves["train"]["x"][-1] == pytest.approx(10.0)
    assert curves["validation"] == {"x": [1.0], "loss": [None], "top1": [20]}
    assert read_curves(tmp_path / "none", None) == {}


def test_the_first_epoch_is_placed_by_the_record(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"split": "train", "epoch": 1, "step": 10, "loss": 2.0}\n')
    assert read_curves(tmp_path / "metrics.jsonl", 40)["train"]["x"] == [0.25]


def test_embedded_json_cannot_end_its_script() -> None:
    text = embedded({"name": NASTY, "and": "a & b \u2028"})
    assert "<" not in text
    assert "\u2028" not in text
    assert json.loads(text) == {"name": NASTY, "and": "a & b \u2028"}


def test_everything_from_files_is_escaped(tmp_path: Path) -> None:
    folder = add_run(tmp_path, "table5", NASTY.replace("/", ""), variant=f"x={NASTY}", reason=NASTY, files=True)
    for name, change in (
        ("config.json", {"config": {NASTY: NASTY}, "defaults": {NASTY: NASTY}, "command": NASTY}),
        (
            "result.json",
            {
                "status": "failed",
                "backend": NASTY,
                "device": NASTY,
                "tracker_url": "javascript:alert(1)",
                "data": NASTY,
            },
        ),
    ):
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | change))
    (folder / "run.log").write_text(NASTY)
    (folder / "costs.json").write_text(
        json.dumps({"layers": [{"name": NASTY, "kind": NASTY, "flops": 1, "params": 1}]})
    )
    attention = json.loads((folder / "attention.json").read_text())
    attention["images"][0]["title"] = NASTY
    (folder / "attention.json").write_text(json.dumps(attention))
    (folder / "metrics.jsonl").write_text('{"split": "train", "epoch": 1, "step": 1, "</script><script>alert(1)": 1}\n')
    site = Site(tmp_path)
    for name in ["index.html", *site.names()]:
        text = site.render(name)
        assert "<script>alert" not in text, name
        assert "javascript:alert" not in text, name
        assert text.count("</script>") == text.count("<script"), name


def test_broken_files_beside_a_record_are_left_out(tmp_path: Path) -> None:
    folder = add_run(tmp_path, "table4", "k3", files=True)
    for name in ("costs.json", "attention.json"):
        for text in ("", "{", '{"layers": [{"name": "st', "[]", "\0"):
            (folder / name).write_text(text)
            (run,) = collect(tmp_path).runs
            assert not details(tmp_path, run).layers or name != "costs.json"
            assert details(tmp_path, run).attention is None or name != "attention.json"


def test_missing_running_failed_and_published_are_said(tmp_path: Path) -> None:
    add_run(tmp_path, "table4", "k3", top1=44.0)
    add_run(tmp_path, "table4", "k5", status="running", done=0.5)
    add_run(tmp_path, "table4", "k9", status="failed", reason="the loss is nan at step 9")
    page = Site(tmp_path).render("index.html")
    table = re.search(r'<section id="table4".*?</section>', page, re.S)
    assert table is not None
    for text in ("running 2/8", "failed", "missing", "76.4", "44.0", "the loss is nan at step 9", "-32.4"):
        assert text in table[0]


def test_every_number_stands_in_the_row_of_its_name(tmp_path: Path) -> None:
    add_table(tmp_path, "table2", seeds=1)
    add_table(tmp_path, "table4", seeds=1)
    site = Site(tmp_path)
    page = site.render("index.html")
    for name, height in (("table2", 2), ("table4", 1)):
        table = TABLES[name]
        body = re.search(rf'<section id="{name}".*?<tbody>(.*?)</tbody>', page, re.S)[1]  # type: ignore[index]
        rows = re.findall(r"<tr.*?</tr>", body, re.S)
        assert len(rows) == height * len(table.rows)
        runs = {run.row: run for run in site.runs if run.table == name}
        for index, row in enumerate(table.rows):
            first, last = rows[height * index], rows[height * (index + 1) - 1]
            texts = [re.sub(r"<.*?>", "", cell) for cell in re.findall(r"<td.*?</td>", last, re.S)]
            assert all(f">{cell}<" in first for cell in row.cells)
            assert {f"{runs[row.name].accuracy['test'][measure]:.1f}" for measure in table.measures} <= {*texts}
            assert re.findall(r"runs/(\w+).html", first + last * (height - 1)) == [run_id(runs[row.name])]


def test_a_run_that_never_began_is_not_among_the_latest(tmp_path: Path) -> None:
    add_run(tmp_path, "table4", "k5", status="failed", reason="the loss is nan at step 9")
    add_run(tmp_path, "table4", "k3", variant="data.root=typo", status="failed", epochs=None, reason="no folder typo")
    latest = re.search(r'<section id="latest">.*?</section>', Site(tmp_path).render("index.html"), re.S)
    assert latest is not None
    assert "the loss is nan" in latest[0]
    assert "typo" not in latest[0]


def test_a_page_a_scale_and_no_mixing(tmp_path: Path) -> None:
    add_run(tmp_path, "table4", "k3", top1=44.4)
    add_run(tmp_path, "table4", "k3", top1=66.6, scale="cifar10")
    add_run(tmp_path, "table4", "k3", top1=11.1, variant="train.epochs=1")
    site = Site(tmp_path)
    demo, cifar = site.render("results-demo.html"), site.render("results-cifar10.html")
    (other,) = (name for name, setting in site.pages.items() if setting[1])
    assert all(
        ("44.4" in page, "66.6" in page) == want for page, want in ((demo, (True, False)), (cifar, (False, True)))
    )
    assert "11.1" in site.render(other)
    assert "table4=glob(*)" in site.render("results-imagenet.html")  # what to type for a scale without runs


def test_runs_of_two_scales_have_two_names_and_each_counts_once(tmp_path: Path) -> None:
    add_run(tmp_path, "table4", "k3")
    add_run(tmp_path, "table4", "k3", scale="cifar10")
    add_run(tmp_path, None, None, variant="layers=conv")
    site = Site(tmp_path)
    assert "table4=k3 seed 0, cifar10" in "".join(map(site.data, site.runs))
    assert [(name, runs) for name, _, runs, _ in scales(site.settings, site.runs, "demo")] == [
        ("demo", 2),
        ("cifar10", 1),
        ("imagenet", 0),
    ]


def test_pictures_of_a_run_in_progress_are_of_held_out_images(tmp_path: Path) -> None:
    for seed, status in enumerate(("finished", "interrupted")):
        folder = add_run(tmp_path, "table2", "conv_full", seed=seed, status=status, files=True)
        (folder / "by_class.csv").write_text("class,ap,ap50,ap75\ncat,1.00,2.00,3.00\n")
    site = Site(tmp_path)
    pages = {run.status: site.run(run) for run in site.runs}
    assert "on the test images" in pages["finished"]
    assert "held-out" not in pages["finished"]
    assert "on the held-out images" in pages["interrupted"]
    assert "Held-out images with" in pages["interrupted"]


def test_five_hundred_runs_in_time_and_without_torch(tmp_path: Path) -> None:
    add_many(tmp_path, 500)
    program = (
        "import os, sys; from sasa.report.__main__ import main;"
        f"code = main(['dashboard', '--output', {str(tmp_path)!r}]);"
        "print('cpu', sum(os.times()[:4]), {'torch', 'altair'} & set(sys.modules), code)"
    )
    for limit in (12, 6):  # about 5 s, of two cores, and 2 s where nothing has changed; CI may be slow
        answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        seconds, loaded, code = re.search(r"cpu (\S+) (\S+) (\S+)", answer.stdout).groups()  # type: ignore[union-attr]
        assert (loaded, code) == ("set()", "0")
        assert float(seconds) < limit
    pages = list((tmp_path / "dashboard" / "runs").glob("*.html"))
    assert len(pages) == 500
    assert all(page.stat().st_size < 100_000 for page in pages)
    assert max(path.stat().st_size for path in (tmp_path / "dashboard").glob("*")) < 1_000_000


def test_nothing_is_fetched_from_elsewhere(tmp_path: Path) -> None:
    add_table(tmp_path, "table4", seeds=1, files=True)
    build(tmp_path, tmp_path / "dashboard")
    for path in (tmp_path / "dashboard").rglob("*"):
        if path.suffix in (".html", ".css", ".js") and path.name != script.NAME:  # the browser's tests watch that one
            addresses = set(re.findall(r"(?:https?:)?//[\w.]+\.[a-z]+", path.read_text()))
            assert addresses <= {"http://www.w3.org"}, path
            sources = re.findall(r'(?:src|href)="([^"#]+)"', path.read_text()) if path.suffix == ".html" else []
            local = [source for source in sources if not source.startswith("data:")]
            assert all((path.parent / source).exists() for source in local), path


def test_the_script_of_the_charts_is_written_once(tmp_path: Path) -> None:
    script.place(tmp_path)
    path = tmp_path / script.NAME
    text = path.read_text()
    assert text.startswith(f"// altair {version('altair')}, vl-convert-python {version('vl-convert-python')}")
    os.utime(path, (1, 1))
    script.place(tmp_path)
    assert path.stat().st_mtime == 1
    path.write_text("// altair 0.1, " + text)  # of another version
    script.place(tmp_path)
    assert path.read_text() == text


def test_a_table_s_figures_have_the_paper_s_points_beside_ours(tmp_path: Path) -> None:
    add_run(tmp_path, "table1", "full_50", scale="imagenet", top1=76.0)
    add_run(tmp_path, "table1", "full_50", scale="imagenet", top1=77.0, seed=1)
    found = compare(TABLES["table1"], collect(tmp_path).runs, "imagenet")
    by_flops, by_params = figures(found)
    assert (by_flops["x"], by_params["x"]) == (FLOPS, PARAMS)
    paper, ours = (
        one
        for one in by_params["values"]
        if one["label"].endswith(("/ 50", "2 seeds")) and one["series"] == "full attention"
    )
    assert (paper["source"], paper["x"], paper["y"]) == ("paper", 18.0, 77.6)
    assert (ours["source"], ours["x"], ours["y"]) == ("ours", pytest.approx(18.04), 76.5)
    assert (ours["low"], ours["high"]) == pytest.approx((76.5 - 0.5**0.5, 76.5 + 0.5**0.5))
    assert ours["result"] == "76.5 ± 0.7 %"


def test_detection_is_drawn_by_its_ap(tmp_path: Path) -> None:
    accuracy = {split: {"ap": 31.5, "ap50": 50.0} for split in ("validation", "test")}
    add_run(tmp_path, "table2", "conv_full", accuracy=accuracy)
    add_run(tmp_path, "table4", "k3")
    runs = collect(tmp_path).runs
    for figure in figures(compare(TABLES["table2"], runs, "demo")):
        assert figure["y"] == "AP (%)"
    assert figures(compare(TABLES["table2"], runs, "demo"))[1]["values"][0]["y"] == 31.5
    assert [(one["x"], one["y"], len(one["values"])) for one in all_runs(runs)] == [
        (cost, f"test {measure} (%)", 1) for measure in ("top-1", "AP") for cost in (FLOPS, PARAMS)
    ]
    page = Site(tmp_path).render("compare.html")
    assert "31.50" in page


def test_a_second_build_takes_out_what_is_gone_and_spares_other_folders(tmp_path: Path) -> None:
    folder = add_run(tmp_path, "table4", "k3", files=True)
    to = tmp_path / "pages"
    build(tmp_path, to)
    (run,) = collect(tmp_path).runs
    assert (to / "runs" / f"{run_id(run)}-samples.png").exists()
    for path in folder.iterdir():
        path.unlink()
    build(tmp_path, to)
    assert not list((to / "runs").iterdir())
    (to / "notes.txt").touch()
    kept = add_run(to, "table4", "k5", files=True)
    build(to, to)
    build(to, to)
    assert (to / "notes.txt").exists()
    assert (kept / "result.json").exists()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    with pytest.raises(InputError, match="holds other files"):
        build(tmp_path, tmp_path / "thesis")


def test_a_fresh_clone_is_told_what_to_run(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "sasa.report", "dashboard"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    assert answer.returncode == 2
    assert "make demo" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_table_on_the_terminal_imports_neither_templates_nor_torch() -> None:
    program = "import sys, sasa.report.__main__; print({'torch', 'jinja2', 'wandb', 'http.server'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


def test_report_for_wandb(tmp_path: Path) -> None:
    import wandb_workspaces.reports.v2 as wr

    from sasa.report.tracker import report

    add_table(tmp_path, "table4", seeds=2)
    add_table(tmp_path, "table5", scale="cifar10")
    made = report(collect(tmp_path).runs, "sasa", "someone", "demo")
    content = repr(made.blocks)
    for text in ("Table 4: spatial extent k", "validation/top1", "test/top1", "attention", "not decidable yet", "76.4"):
        assert text in content
    assert "Table 5: positional" not in content
    grids = [block for block in made.blocks if isinstance(block, wr.PanelGrid)]
    filters = [str(grid.runsets[0].filters) for grid in grids]
    assert ["demo" in one for one in filters] == [True, True]
    assert ["table4" in one for one in filters] == [True, False]


def test_report_for_wandb_without_a_login(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    answer = subprocess.run(
        [sys.executable, "-m", "sasa.report", "wandb", "--output", str(tmp_path)], capture_output=True, text=True,
        env={**environment, "HOME": str(tmp_path), "NETRC": str(tmp_path / "none")}, check=False,
    )  # fmt: skip
    assert answer.returncode == 2
    assert "wandb login" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_live_site_reads_curves_again_only_if_they_grew(tmp_path: Path) -> None:
    folder = add_run(tmp_path, "table4", "k3", status="running", done=0.3)
    known: dict = {}
    first = Site(tmp_path, curves=known)
    (run,) = first.runs
    before = first.curves(run)
    assert Site(tmp_path, curves=known).curves(run) is before
    time.sleep(0.01)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"split": "train", "epoch": 4, "step": 200, "loss": 1.0, "top1": random.random()}) + "\n")
    assert len(Site(tmp_path, curves=known).curves(run)["train"]["x"]) == len(before["train"]["x"]) + 1
