"""Takes the README's pictures from real runs: `python docs/screenshots.py [outputs, or an archive]`.

Archives have no maps of attention: of those attention.png stays as it is. Needs Chromium and playwright.
"""

import io
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from sasa.records.result import Run
from sasa.report.pages.build import build
from sasa.report.pages.files import run_id
from sasa.report.pages.site import Site

HERE, WIDTH = Path(__file__).parent, 1200
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def main(output: Path) -> None:
    run = best_with_attention(output)
    with TemporaryDirectory() as folder, sync_playwright() as program:
        pages = build(output, Path(folder) / "dashboard").parent
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = program.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": WIDTH, "height": 1000}, color_scheme="light")
        page.goto((pages / "index.html").absolute().as_uri())
        save(page, "dashboard.png", height=1400)
        page.wait_for_timeout(2000)  # for the charts
        tables = page.locator("section.table", has=page.locator("tr.finished")).all()
        fullest = max(
            tables, key=lambda table: table.locator("tr.finished").count() / table.locator("tbody tr").count()
        )
        frame = fullest.bounding_box()
        assert frame is not None
        save(page, "charts.png", top=frame["y"] - 12, height=frame["height"] + 24)
        if run is not None:
            page.emulate_media(color_scheme="dark")
            page.goto((pages / "runs" / f"{run_id(run)}.html").absolute().as_uri())
            top = page.locator("#attention").bounding_box()
            assert top is not None
            save(page, "attention.png", top=top["y"] - 12, height=min(top["height"] + 24, 900))
        browser.close()


def best_with_attention(output: Path) -> Run | None:
    """The best finished run whose attention was recorded."""
    site = Site(output)
    runs = [run for run in site.runs if (site.places[run.folder] / "attention.json").is_file()]
    return max(runs, key=lambda run: run.accuracy.get("test", {}).get("top1", 0), default=None)


def save(page: Page, name: str, *, top: float = 0, height: float) -> None:
    """A part of the page as an optimised PNG."""
    picture = page.screenshot(full_page=True, clip={"x": 0, "y": top, "width": WIDTH, "height": height})
    Image.open(io.BytesIO(picture)).convert("RGB").save(HERE / name, optimize=True)
    print(HERE / name, (HERE / name).stat().st_size // 1000, "kB")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "outputs"))
