"""The dashboard in headless Chromium: from disk and served, light and dark, desktop and phone, and while a run goes on."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image
from records import add_many, add_run, add_table

from sasa.records.collect import collect
from sasa.report.pages.build import build
from sasa.report.pages.files import run_id
from sasa.report.paper import TABLES
from sasa.report.tables.compare import compare
from sasa.report.tables.text import comma_separated, latex, markdown

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: make setup")
expect = playwright.expect
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip
DRAWN = "figure.chart .plot svg.marks"
TIP = "#tip"
WAIT = 600_000  # milliseconds: on a busy machine half a minute was not enough
expect.set_options(timeout=WAIT)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as program:
        started = program.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS), timeout=WAIT)
        yield started
        started.close()


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tables with three seeds, a row called <script>, a running and a failed run, and their pages."""
    folder = tmp_path_factory.mktemp("outputs")
    add_table(folder, "table4", files=True)
    add_table(folder, "table1", seeds=1, files=True)
    add_run(folder, "table5", "<script>alert(2)<", top1=44.0)
    add_run(folder, "table5", "none", status="running", done=0.5, files=True)
    add_run(folder, "table6", "position", status="failed", reason="<img src=x onerror=alert(3)> nan", files=True)
    add_run(folder, None, None, variant="train.epochs=1", top1=33.3)
    build(folder, folder / "dashboard")
    return folder


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that fails its test for an error on the console, a dialog, or a request that leaves this machine.

    A test asks for it after the server: so it is closed before the server ends, which it would miss.
    """
    opened = browser.new_page(viewport={"width": 1200, "height": 900}, color_scheme="light")
    opened.set_default_timeout(WAIT)
    errors: list[str] = []
    opened.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("dialog", lambda dialog: (errors.append(dialog.message), dialog.dismiss()))
    local = ("file:", "data:", "http://127.0.0.1:")
    opened.on("request", lambda request: None if request.url.startswith(local) else errors.append(request.url))
    yield opened
    opened.close()
    assert not errors


def address(output: Path, name: str) -> str:
    return (output / "dashboard" / name).as_uri()


def ids(output: Path) -> dict[str, str]:
    return {run.folder: run_id(run) for run in collect(output).runs}


@pytest.mark.parametrize("width", [1200, 390])
def test_every_kind_of_page_loads_and_fits(page: Any, output: Path, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    names = ids(output)
    folders = ("table4/k3/scale=demo,seed=1", "table5/none/scale=demo,seed=0", "table6/position/scale=demo,seed=0")
    for name in (
        "index.html",
        "results-imagenet.html",
        "compare.html",
        *(f"runs/{names[folder]}.html" for folder in folders),
    ):
        page.goto(address(output, name))
        expect(page.locator(DRAWN)).to_have_count(page.locator("figure.chart").count())
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
    assert page.locator("pre").inner_text()  # the failed run's log is open


def test_text_from_files_is_text(page: Any, output: Path) -> None:
    page.goto(address(output, "index.html"))
    assert page.locator("#table5 td", has_text="<script>alert(2)<").count() == 1
    page.locator("#table6-notes summary").click()
    assert "<img src=x onerror=alert(3)> nan" in page.locator("#table6-notes").inner_text()
    assert page.locator("img[src=x]").count() == 0


def test_scale_is_chosen_at_the_top(page: Any, output: Path) -> None:
    page.goto(address(output, "index.html"))
    assert page.locator(".pill[aria-current]").inner_text().startswith("demo")
    page.locator(".pill", has_text="imagenet").click()
    assert page.locator(".pill[aria-current]").inner_text().startswith("imagenet")
    assert page.locator("#table4 tr.missing").count() == 5
    assert "77.7" in page.locator("#table4").inner_text()  # the published numbers stand there without runs


def point_at(page: Any, chart: Any, across: float, down: float) -> None:
    """Moves the pointer to a place of a chart, in shares of its width and height."""
    drawn = chart.locator("svg.marks")
    drawn.scroll_into_view_if_needed()
    box = drawn.bounding_box()
    page.mouse.move(box["x"] + box["width"] * across, box["y"] + box["height"] * down)


def colours(chart: Any) -> list[str]:
    """What the lines of a chart look like on the screen."""
    return chart.locator(".mark-line path").evaluate_all("all => all.map((one) => getComputedStyle(one).stroke)")


def test_pointing_at_a_figure_tells_its_values(page: Any, output: Path) -> None:
    page.goto(address(output, "index.html"))
    chart = page.locator('[data-chart="table4-3"]')
    chart.locator(".mark-symbol path").first.hover(force=True)
    expect(page.locator(TIP)).to_contain_text("ours: 3, 3 seeds")
    expect(page.locator(TIP)).to_contain_text("±")
    expect(page.locator(TIP)).to_contain_text("6.6 G FLOPs, 18.0 M parameters")
    point_at(page, page.locator('[data-chart="table4-learning"]'), 0.9, 0.3)
    expect(page.locator(TIP)).to_contain_text(re.compile(r"^(3|5|7|9|11), seeds 0 1 2\nepoch [78]: 4\d"))
    page.mouse.move(2, 2)
    expect(page.locator(TIP)).to_be_hidden()


def test_a_row_called_script_is_text_in_charts(page: Any, output: Path) -> None:
    page.goto(address(output, "index.html"))
    chart = page.locator('[data-chart="table5-2"]')
    expect(chart.locator("svg.marks")).to_contain_text("<script>alert(2)<")
    chart.locator(".mark-symbol path").last.hover(force=True)
    expect(page.locator(TIP)).to_contain_text("<script>alert(2)<")


def test_a_click_on_a_point_opens_its_run(page: Any, output: Path) -> None:
    page.goto(address(output, "index.html"))
    page.locator('[data-chart="table4-3"] .mark-symbol path').last.click(force=True)
    expect(page.locator("h1")).to_contain_text("table4=k11")


def test_curves_choose_a_metric_and_a_row(page: Any, output: Path) -> None:
    page.goto(address(output, "index.html"))
    chart = page.locator('[data-chart="table4-learning"]')
    expect(chart.locator(".mark-line path")).to_have_count(5)
    chart.locator("select").select_option("train loss")
    expect(chart.locator("svg.marks")).to_contain_text("loss")
    chart.locator(".role-legend-label text", has_text="7").click(force=True)
    expect(chart.locator(".mark-line path[opacity='1']")).to_have_count(1)


def test_a_run_of_one_epoch_shows_its_point(page: Any, tmp_path: Path) -> None:
    folder = add_run(tmp_path, "table4", "k3", epochs=1)
    line = {"split": "validation", "epoch": 1, "step": 60, "loss": 1.5, "top1": 40.0}
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    build(tmp_path, tmp_path / "dashboard")
    page.goto(address(tmp_path, f"runs/{ids(tmp_path)['table4/k3/scale=demo,seed=0']}.html"))
    dot = page.locator('[data-chart="run-1"] .mark-symbol path')
    expect(dot).to_have_attribute("opacity", "1")
    assert dot.bounding_box()["width"] > 8
    assert "epochs" not in page.locator(".facts").inner_text()


def test_dark_and_light(page: Any, output: Path) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    page.goto(address(output, "index.html"))
    chart = page.locator('[data-chart="table4-learning"]')
    expect(chart.locator(".mark-line path")).to_have_count(5)
    light, drawn = page.evaluate(background), colours(chart)
    assert len(set(drawn)) == 5
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(background)
    assert dark != light
    assert not set(colours(chart)) & set(drawn)  # a chart turns with its page
    page.locator("#theme").click()  # auto, light, dark
    assert page.evaluate(background) == light
    assert colours(chart) == drawn
    page.goto(address(output, "compare.html"))
    assert page.evaluate(background) == light  # the choice is kept
    page.locator("#theme").click()
    assert page.evaluate(background) == dark


def test_sort_filter_and_compare_keep_the_address(page: Any, output: Path) -> None:
    page.goto(address(output, "compare.html"))
    rows = page.locator("#all-runs tbody tr:visible")
    total = rows.count()
    page.locator("#filter").fill("table4 seed=0")
    assert rows.count() == 5
    assert page.locator("#shown").inner_text() == f"5 of {total} runs"
    for turn, want in enumerate((sorted, lambda values: sorted(values, reverse=True))):
        page.locator('th[data-field="test"] button').click()
        values = [float(text) for text in page.locator("#all-runs tbody tr:visible td:nth-child(5)").all_inner_texts()]
        assert values == want(values), turn
    for row in ("k3", "k11"):
        box = page.locator("#all-runs tbody tr:visible", has_text=row).locator("input")
        before = box.bounding_box()
        box.check()
        page.wait_for_selector("#side tbody tr")
        assert box.bounding_box() == before  # what is compared does not push away what is ticked
    page.wait_for_selector("#side tbody tr.differs")
    assert page.locator("#side tr.differs code").all_inner_texts() == ["extent.k"]
    assert page.locator("#side tr.differs td").all_inner_texts()[1:] == ["3", "11"]
    expect(page.locator("#overlaid figure").first.locator(".mark-line path")).to_have_count(2)
    page.locator("#only").check()
    kept = page.url
    page.goto("about:blank")
    page.goto(kept)
    page.wait_for_selector("#side tbody tr.differs")
    assert rows.count() == 5
    assert page.locator("#only").is_checked()
    assert page.locator('th[aria-sort="descending"]').inner_text() == "test %"
    page.locator("#chosen button").first.click()
    assert page.locator("#side th a").count() == 1


def test_the_filter_asks_for_names_and_fields(page: Any, tmp_path: Path) -> None:
    for row, seed, top1 in (("conv1", 0, 48.0), ("conv12", 0, 49.5), ("conv123", 1, 50.5)):
        add_run(tmp_path, "table3", row, seed=seed, top1=top1)
    add_run(tmp_path, "table3", "conv1", seed=1, status="failed", reason="the loss is nan at step 9")
    add_run(tmp_path, "table1", "conv_stem_26", host="gpu7", top1=20.0, variant="train.epochs=1")
    add_run(tmp_path, "table2", "conv_full", accuracy={"test": {"ap": 31.5}})
    build(tmp_path, tmp_path / "dashboard")
    page.goto(address(tmp_path, "compare.html"))
    for words, rows in (
        ("conv1", ["conv1", "conv1"]),
        ("conv1*", ["conv1", "conv1", "conv12", "conv123"]),
        ("table3=conv12", ["conv12"]),
        ("conv1 -status=failed", ["conv1"]),
        ("row=conv12,conv123", ["conv12", "conv123"]),
        ("top1>49", ["conv12", "conv123"]),
        ("top1<=49.5 table3", ["conv1", "conv12"]),
        ("ap>30", ["conv_full"]),
        ("reason~NaN", ["conv1"]),
        ("host=gpu7", ["conv_stem_26"]),
        ("train.epochs=1", ["conv_stem_26"]),
        ("stem", ["conv_stem_26"]),
        ("nothing=1", []),
    ):
        page.locator("#filter").fill(words)
        shown = page.locator("#all-runs tbody tr:visible td:nth-child(2)").all_inner_texts()
        assert sorted(name.partition("=")[2] for name in shown) == rows, words
    page.locator("#filter").fill("table3")
    page.locator("#all-shown").click()  # two seeds of conv1, of which one failed
    expect(page.locator("#chosen button")).to_have_count(4)
    assert sorted(page.locator("#chosen button").all_inner_texts()) == [
        "table3=conv1 seed 1, failed ×",
        "table3=conv1, seed 0 ×",
        "table3=conv12, seed 0 ×",
        "table3=conv123, seed 1 ×",
    ]


def test_a_table_s_runs_are_compared_at_a_click_by_row(page: Any, output: Path) -> None:
    page.goto(address(output, "index.html"))
    page.locator("#table4 a", has_text="Compare these runs").click()
    page.wait_for_selector("#side tbody tr.differs")
    assert page.locator("#side th a").count() == 15
    assert [chip.split(",")[0] for chip in page.locator("#chosen button").all_inner_texts()] == [
        f"table4=k{k}" for k in (3, 5, 7, 9, 11)
    ]
    loss = page.locator('[data-chart="compare-train"]')
    expect(loss.locator(".mark-line path")).to_have_count(5)
    expect(loss.locator(".mark-area path")).to_have_count(5)  # from the lowest to the highest seed
    rough = loss.locator(".mark-line path").first.get_attribute("d")
    page.locator("#smooth").fill("0.9")
    expect(loss.locator(".mark-line path").first).not_to_have_attribute("d", str(rough))
    assert "smooth=0.9" in page.url


def test_a_row_s_curve_is_the_mean_of_its_finished_seeds(page: Any, tmp_path: Path) -> None:
    for seed, level, epochs in ((0, 40.0, 4), (1, 50.0, 4), (2, 90.0, 2)):
        status = "finished" if epochs == 4 else "interrupted"
        folder = add_run(tmp_path, "table4", "k3", seed=seed, status=status, epochs=4)
        lines = [{"split": "validation", "epoch": e, "step": 60 * e, "top1": level + e} for e in range(1, epochs + 1)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    build(tmp_path, tmp_path / "dashboard")
    page.goto(address(tmp_path, "index.html"))
    chart = page.locator('[data-chart="table4-learning"]')
    expect(chart.locator(".mark-line path")).to_have_count(1)
    point_at(page, chart, 0.98, 0.4)
    expect(page.locator(TIP)).to_have_text("3, seeds 0 1\nepoch 4: 49 (44 to 54)")


def test_a_chart_has_a_name_and_answers_the_keyboard(page: Any, output: Path) -> None:
    page.goto(address(output, "index.html"))
    plot = page.locator('[data-chart="table4-3"] .plot')
    expect(plot).to_have_attribute("aria-label", re.compile("^Table 4: spatial extent k: ours, demo: left and right"))
    curves = page.locator('[data-chart="table4-learning"] .plot')
    curves.focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(TIP)).to_have_text("3")
    expect(curves.locator(".mark-line path[opacity='1']")).to_have_count(1)
    plot.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(TIP)).to_contain_text("ours: 3, 3 seeds")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(TIP)).to_contain_text("ours: 11, 3 seeds")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("table4=k11")


@pytest.mark.slow
def test_tables_and_figures_are_saved_as_files(page: Any, output: Path, tmp_path: Path) -> None:
    def saved(part: Any) -> Path:
        with page.expect_download() as download:
            part.click()
        download.value.save_as(tmp_path / download.value.suggested_filename)
        return tmp_path / download.value.suggested_filename

    page.emulate_media(color_scheme="dark")
    page.goto(address(output, "index.html"))
    here = compare(TABLES["table4"], collect(output).runs, "demo")
    for name, text in (("CSV", comma_separated([here])), ("LaTeX", latex([here])), ("Markdown", markdown([here]))):
        path = saved(page.locator("#table4 .links a", has_text=name))
        assert path.read_bytes().decode() == text, path
    chart = page.locator('[data-chart="table4-learning"]')
    drawing = saved(chart.locator("button", has_text="SVG"))
    root = ElementTree.fromstring(drawing.read_text())
    assert "var(" not in drawing.read_text()
    assert {"3", "5", "7", "9", "11", "epochs"} <= set(root.itertext())
    picture = Image.open(saved(chart.locator("button", has_text="PNG")))
    assert picture.size == (2 * int(root.attrib["width"]), 2 * int(root.attrib["height"]))
    colours = {pixel for _, pixel in picture.convert("RGB").getcolors(1 << 24)}
    assert {(0x18, 0x1B, 0x21), (0x56, 0xA9, 0xE9)} <= colours  # the card, and the first line, in the dark


def test_a_phone_keeps_the_header_over_its_column(page: Any, output: Path) -> None:
    page.set_viewport_size({"width": 390, "height": 900})
    page.goto(address(output, "index.html"))
    page.locator("#table4 th").first.scroll_into_view_if_needed()
    page.locator("#table4 .scroll").evaluate("box => { box.scrollLeft = 150; }")
    head, cell = (page.locator(f"#table4 {name}").first.bounding_box() for name in ("th", "tbody td"))
    assert head["x"] == cell["x"] > 0
    middle = [head["x"] + head["width"] / 2, head["y"] + head["height"] / 2]
    assert page.evaluate("([x, y]) => document.elementFromPoint(x, y).textContent", middle) == "k"
    page.goto(address(output, "compare.html"))
    shown = page.locator("#all-runs thead th").evaluate_all(
        "all => all.filter(one => one.getBoundingClientRect().right < 375)"
    )
    assert len(shown) >= 5  # box, run, seed, status and the result


def test_tables_fit_a_page_on_screen_and_in_print(page: Any, output: Path, tmp_path: Path) -> None:
    add_table(tmp_path, "table2", seeds=2)
    add_table(tmp_path, "table1", seeds=2)
    build(tmp_path, tmp_path / "dashboard")
    fits = "all => all.every((box) => box.scrollWidth <= box.clientWidth)"
    page.set_viewport_size({"width": 1400, "height": 900})
    for name in ("index.html", "compare.html"):
        page.goto(address(tmp_path, name))
        assert page.locator(".scroll").evaluate_all(fits), name
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": 1030, "height": 700})  # A4 across, less its margins
    page.goto(address(tmp_path, "index.html"))
    assert page.locator(".results").evaluate_all("all => all.every((one) => one.scrollWidth <= innerWidth)")
    assert (
        page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--page')") == "#f6f7f9"
    )  # black on white


def test_every_kind_of_page_passes_axe(browser: Any, output: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe: make setup").Axe()
    names = ids(output)
    folders = ("table4/k3/scale=demo,seed=1", "table5/none/scale=demo,seed=0", "table6/position/scale=demo,seed=0")
    some = ",".join(names[f"table4/{row}/scale=demo,seed=0"] for row in ("k3", "k5"))
    pages = ("index.html", f"compare.html#runs={some}", *(f"runs/{names[folder]}.html" for folder in folders))
    opened = browser.new_page()
    for name in pages:
        opened.goto(address(output, "").rstrip("/") + f"/{name}")
        expect(opened.locator(DRAWN)).to_have_count(opened.locator("figure.chart").count())
        opened.evaluate("document.querySelectorAll('details').forEach((one) => one.open = true)")
        for scheme, width in (("dark", 390), ("light", 1280)):
            opened.set_viewport_size({"width": width, "height": 900})
            opened.emulate_media(color_scheme=scheme)
            found = axe.run(opened)
            assert not found.violations_count, (scheme, name, found.generate_report())
    opened.close()


def test_a_run_s_page(page: Any, output: Path) -> None:
    page.goto(address(output, f"runs/{ids(output)['table4/k3/scale=demo,seed=1']}.html"))
    assert page.locator("#configuration tbody tr").first.inner_text().split() == ["extent.k", "3", "7"]
    assert "python run.py table4=k3" in page.locator("#command").inner_text()
    assert page.locator(".attention .row").count() == 2
    assert page.locator(".attention .row .tiles figure").count() == 4
    page.locator(".picker").nth(3).click()
    assert page.locator(".picker").nth(3).get_attribute("aria-pressed") == "true"
    page.locator(".attention .tiles rect").first.hover()
    assert "head 1" in page.locator("#tip").inner_text()
    page.locator(".attention .tiles svg").first.focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator("#tip").inner_text().endswith("0 down, -1 right")
    assert page.evaluate("document.querySelector('img.sheet').naturalWidth") == 16
    page.locator("#layers-2 summary").click()
    assert "7x7 attention" in page.locator("#layers-2").inner_text()


def test_five_hundred_runs_open(page: Any, tmp_path: Path) -> None:
    add_many(tmp_path, 500)
    build(tmp_path, tmp_path / "dashboard")
    for name in ("index.html", "compare.html"):
        page.goto(address(tmp_path, name))
    page.locator("#filter").fill("figure5 imagenet")
    assert 0 < page.locator("#all-runs tbody tr:visible").count() < 100


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str, subprocess.Popen[str]]]:
    """`browse` on a folder with one run in progress, and its address."""
    add_run(tmp_path, "table4", "k3", status="running", done=0.25, files=True, pid=os.getpid())
    words = [sys.executable, "-m", "sasa.report", "browse", "--output", str(tmp_path), "--port", "0"]
    program = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert program.stdout is not None
    yield tmp_path, program.stdout.readline().split()[0], program
    program.kill()
    program.wait()


def test_browse_moves_while_a_run_goes_on(served: tuple[Path, str, Any], page: Any) -> None:
    output, url, _ = served
    page.goto(url)
    share = page.locator("#latest .card.run .quiet")
    assert share.inner_text() == "25 % of 8 epochs"
    expect(page.locator(".live")).to_have_text("live")
    page.locator("#method summary").click()
    chart = page.locator('[data-chart="table4-learning"]')
    expect(chart.locator("svg.marks")).to_have_count(1)
    chart.locator("svg.marks").evaluate("drawn => { drawn.same = true; }")
    before = chart.locator(".mark-line path").get_attribute("d")
    page.wait_for_timeout(1000)
    folder = output / "table4" / "k3" / "scale=demo,seed=0"
    with (folder / "metrics.jsonl").open("a") as file:
        for step in range(130, 250, 10):
            file.write(
                json.dumps({"split": "train", "epoch": step // 60 + 1, "step": step, "loss": 1.1, "top1": 30.0}) + "\n"
            )
    expect(share).to_have_text("50 % of 8 epochs")
    assert page.locator("#method").get_attribute("open") is not None  # what was open stays open
    add_run(output, "table4", "k3", top1=45.6)
    expect(page.locator("#table4 tbody")).to_contain_text("45.6")
    expect(chart.locator(".mark-line path")).not_to_have_attribute("d", before)
    assert chart.locator("svg.marks").evaluate("drawn => drawn.same")  # new points in the same drawing
    expect(page.locator(DRAWN)).to_have_count(page.locator("figure.chart").count())


def test_browse_keeps_a_comparison_fresh(served: tuple[Path, str, Any], page: Any) -> None:
    output, url, _ = served
    add_table(output, "figure5", seeds=3)
    page.goto(f"{url}compare.html#runs={ids(output)['table4/k3/scale=demo,seed=0']}")
    page.wait_for_selector("#side tbody tr")
    page.locator("#runs .scroll").evaluate("box => { box.scrollTop = 200; }")
    page.wait_for_timeout(1000)
    add_run(output, "table4", "k3", top1=45.6)
    expect(page.locator("#side")).to_contain_text("45.60")
    assert page.locator("#all-runs input:checked").count() == 1
    assert page.locator("#runs .scroll").evaluate("box => box.scrollTop") == 200


def test_browse_answers_this_machine_alone_and_nothing_but_pages(served: tuple[Path, str, Any]) -> None:
    output, url, _ = served
    port = int(url.rsplit(":", 1)[1].strip("/"))
    (output / "secret.txt").write_text("secret")
    for path in (
        "secret.txt",
        "runs/../secret.txt",
        "%2e%2e/secret.txt",
        "runs/000000000000.html",
        "nothing",
        "runs/x-samples.png",
    ):
        with pytest.raises(urllib.error.HTTPError) as answer:
            urllib.request.urlopen(url + path)
        assert answer.value.code == 404, path
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/", headers={"Host": f"elsewhere.example:{port}"})
    assert connection.getresponse().status == 403
    other = next(
        iter({info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None)} - {"127.0.0.1", "::1"}), None
    )
    if other:
        with pytest.raises(OSError, match=r"refused|timed out"):
            socket.create_connection((other, port), timeout=2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_browse_stops_cleanly(served: tuple[Path, str, Any], number: int) -> None:
    _, url, program = served
    urllib.request.urlopen(url).read()
    program.send_signal(number)
    printed, complaints = program.communicate(timeout=600)
    assert (program.returncode, printed.strip(), complaints) == (0, "stopped", "")


def test_browse_on_a_taken_port(served: tuple[Path, str, Any]) -> None:
    output, url, _ = served
    words = [
        sys.executable,
        "-m",
        "sasa.report",
        "browse",
        "--output",
        str(output),
        "--port",
        url.rsplit(":", 1)[1].strip("/"),
    ]
    answer = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)
    assert answer.returncode == 2
    assert "is taken" in answer.stderr
