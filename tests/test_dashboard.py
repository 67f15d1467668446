"""The dashboard without a browser: curves, pages, escaping, time, and the report for W&B."""

import json
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
from sasa.records.metrics import POINTS
from sasa.report.pages import script
from sasa.report.pages.build import build
from sasa.report.pages.figures import FLOPS, PARAMS, all_runs, figures
from sasa.report.pages.files import details, read_curves, run_id
from sasa.report.pages.site import Site, embedded
from sasa.report.pages.views import results_name, scales
from sasa.report.paper import TABLES
from sasa.report.status import main as tell_status
from sasa.report.tables.compare import compare

NASTY = "</script><script>alert(1)</script>"


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
            assert not details(tmp_path / run.folder, run).layers or name != "costs.json"
            assert details(tmp_path / run.folder, run).attention is None or name != "attention.json"


def test_missing_running_failed_and_published_are_said(tmp_path: Path) -> None:
    add_run(tmp_path, "table4", "k3", top1=44.0)
    add_run(tmp_path, "table4", "k5", status="running", done=0.5)
    add_run(tmp_path, "table4", "k9", status="failed", reason="the loss is nan at step 9")
    page = Site(tmp_path).render("index.html")
    table = re.search(r'<section id="table4".*?</section>', page, re.S)
    assert table is not None
    for text in ("running 2/8", "failed", "missing", "76.4", "44.0", "the loss is nan at step 9", "-1.0"):
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


def test_notes_are_shown_and_a_hidden_run_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noted = add_run(tmp_path, "table4", "k3", top1=44.4)
    (noted / "notes.txt").write_text(f"a slow disk\n{NASTY}\n")
    images = {"name": "folder", "root": "/v2", "test_split": "val", "size": 288}
    other = {
        "weights": "best.safetensors",
        "data": images,
        "accuracy": {"loss": 1.5, "top1": 43.21},
        "evaluated": "now",
    }
    earlier = other | {"data": images | {"root": None}, "accuracy": {"ap": 9.9, "ap_small": None}}
    del earlier["weights"]  # before others than the averages could be named
    (noted / "evaluations.json").write_text(json.dumps({"a": other, "b": earlier}))
    folder = add_run(tmp_path, "table4", "k5", top1=55.5, status="interrupted")
    (folder / "hidden").touch()
    site = Site(tmp_path)
    pages = [site.render(name) for name in ("index.html", "compare.html", *site.names())]
    assert (
        sum("a slow disk" in page for page in pages) == 4
    )  # the list of all runs, twice here, its own page and script
    (evaluated,) = (
        found[0] for page in pages if (found := re.search(r'<section id="evaluations">.*?</section>', page, re.S))
    )
    assert re.findall(r"<td[^>]*>(.*?)</td>", evaluated) == [
        *("best.safetensors", "folder in /v2", "val", "288", "top-1 43.2", "now"),
        *("weights.safetensors", "folder", "val", "288", "AP 9.9", "now"),
    ]
    assert not any(NASTY in page or "table4=<wbr>k5" in page for page in pages)
    assert "in the run's folder: table4/k5/scale=demo,seed=0" in pages[1]
    tell_status(["--output", str(tmp_path)])
    assert capsys.readouterr().out.endswith("1 finished\n1 run is hidden, by a file named hidden in the run's folder\n")
    (folder / "hidden").unlink()
    page = Site(tmp_path).render("index.html")
    assert "table4=<wbr>k5" in page
    assert "Not finished" in page


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


def test_runs_of_each_scale_count_once(tmp_path: Path) -> None:
    add_run(tmp_path, "table4", "k3")
    add_run(tmp_path, "table4", "k3", scale="cifar10")
    add_run(tmp_path, None, None, variant="layers=conv")
    site = Site(tmp_path)
    (_, page, _, _) = scales({("demo", ""): 0, ("demo", "train.epochs=1"): 2}, [], "demo")[0]
    assert page == results_name("demo", "train.epochs=1")  # where the scale's runs are
    assert [(name, runs) for name, _, runs, _ in scales(site.settings, site.runs, "demo")] == [
        ("demo", 2),
        ("cifar10_small", 0),
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


@pytest.mark.slow
def test_five_hundred_runs_in_time_and_without_torch(tmp_path: Path) -> None:
    add_many(tmp_path, 500)
    program = (
        "import os, sys; from sasa.report.__main__ import main;"
        f"code = main(['dashboard', '--output', {str(tmp_path)!r}]);"
        "print('cpu', sum(os.times()[:4]), {'torch', 'altair'} & set(sys.modules), code)"
    )
    for limit in (60, 30):  # about 5 s, of two cores, and 2 s where nothing has changed; time is not what is tested
        answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        seconds, loaded, code = re.search(r"cpu (\S+) (\S+) (\S+)", answer.stdout).groups()  # type: ignore[union-attr]
        assert (loaded, code) == ("set()", "0")
        assert float(seconds) < limit
    pages = list((tmp_path / "dashboard" / "runs").glob("*.html"))
    assert len(pages) == 500
    assert all(page.stat().st_size < 100_000 for page in pages)
    assert max(path.stat().st_size for path in (tmp_path / "dashboard").glob("*")) < 1_000_000


@pytest.mark.slow
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


@pytest.mark.slow
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
    for text in ("Table 4: spatial extent k", "validation/top1", "test/top1", "attention", "not decidable yet"):
        assert text in content
    assert "Table 5: positional" not in content
    grids = [block for block in made.blocks if isinstance(block, wr.PanelGrid)]
    filters = [str(grid.runsets[0].filters) for grid in grids]
    assert ["demo" in one for one in filters] == [True, True]
    assert ["table4" in one for one in filters] == [True, False]


@pytest.mark.parametrize(("name", "measure", "paper"), [("table4", "top1", "test/top1"), ("table2", "ap", "test/ap")])
def test_each_chart_of_the_report_for_wandb_has_the_tables_measure_and_the_papers_number(name, measure, paper) -> None:
    import wandb_workspaces.reports.v2 as wr

    from sasa.report.tracker import grid

    panels = grid(wr, "demo", name, [TABLES[name]]).panels
    charts = [panel for panel in panels if isinstance(panel, wr.LinePlot | wr.ScatterPlot)]
    assert len(charts) == 4
    assert all(f"paper: ${{summary:published/{paper}}}" in chart.legend_template for chart in charts)
    assert charts[0].y == [f"validation/{measure}"]
    assert [chart.y.name for chart in charts[2:]] == [f"test/{measure}"] * 2


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
