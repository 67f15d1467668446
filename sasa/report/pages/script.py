"""The JavaScript of all charts, in one file beside the pages: Vega, and the specifications that Altair makes."""

import hashlib
import json
from functools import cache
from importlib.metadata import version
from pathlib import Path

NAME = "vega.js"


def stamp() -> str:
    """The script's first line, which tells whether one that was written before is the present one."""
    charts = hashlib.sha256(Path(__file__).with_name("charts.py").read_bytes()).hexdigest()[:12]
    return f"// altair {version('altair')}, vl-convert-python {version('vl-convert-python')}, {charts}\n"


@cache
def script() -> str:
    """Vega, Vega-Lite and Vega-Embed, and the specifications as `sasa.specs`. It takes two seconds, once a process."""
    import vl_convert  # it and Altair take a second

    from sasa.report.pages.charts import specifications  # Altair

    vega = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    specs = json.dumps(specifications(), separators=(",", ":"))
    return f"{stamp()}{vega}\n(window.sasa ||= {{}}).specs = {specs};\n"


def place(folder: Path) -> None:
    """Write the script into a folder, unless the present one stands there already."""
    path, line = folder / NAME, stamp().encode()
    if path.exists():
        with path.open("rb") as file:
            if file.read(len(line)) == line:
                return
    path.write_text(script(), encoding="utf-8")
