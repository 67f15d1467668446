"""`python -m sasa.bench ops`, `stems`, `models`, `detectors`, `images`, `ranks` and `gpu`: tables, and with --json a file."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from sasa.errors import InputError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
BASELINES = {
    "shapes": "unfold",
    "stems": "convolution",
    "models": "ResNet-50 (torchvision)",
    "demo": "ResNet-50",
    "detectors": "RetinaNet (torchvision)",
    "images": "view (timm)",
    "ranks": "1 process, 1 thread",
}
HEADINGS = {
    "shapes": "Attention core at the paper's shapes, k = 7, 8 heads",
    "extents": "Growth with the spatial extent",
    "sides": "Growth with the map",
    "stems": "Stems at 224 x 224, forward and backward",
    "models": "Training step at 224 x 224",
    "demo": "Training step at demo scale: 64 images of 64 x 64, a quarter of the width",
    "detectors": "Training step of Table 2's detectors at 640 x 640 (160 x 160 with --quick)",
    "images": "JPEGs of 466 x 390 to random crops of 224 x 224, one process",
    "ranks": "Steps of SASA-50, full, at 64 x 64, by processes on the CPU",
}


def main() -> None:
    """Run the chosen benchmark and prints its tables."""
    parser = argparse.ArgumentParser(prog="python -m sasa.bench", description=__doc__)
    parser.add_argument("what", choices=["ops", "stems", "models", "detectors", "images", "ranks", "gpu"])
    parser.add_argument("--images", type=Path, help="a folder of photographs, as JPEG: for images")
    parser.add_argument("--to", type=Path, metavar="FILE", help="of gpu: the JSON; its tables go beside it, as .txt")
    parser.add_argument(
        "--cifar", type=Path, metavar="DIR", help="for gpu: train/<class>/ and test/<class>/ to train on"
    )
    parser.add_argument("--quick", action="store_true", help="fewer shapes, contenders and rounds")
    parser.add_argument("--json", type=Path, help="write the rows and the conditions to this file")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=DTYPES, help="float32 on a CPU, bfloat16 on a GPU by default")
    parser.add_argument(
        "--batch", type=int, help="8 on a CPU, 128 on a GPU by default; of detectors 1 and 8, of ranks 64"
    )
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--compile", action="store_true", help="compile the networks")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.batch is not None and options.batch < 1:
        parser.error(f"--batch {options.batch}: expected a number of images, at least 1")
    try:
        device = torch.device(options.device)
    except RuntimeError:
        parser.error(f"--device {options.device}: expected cpu or cuda")
    dtype = DTYPES[options.dtype or ("bfloat16" if device.type == "cuda" else "float32")]
    small, large = {"gpu": (2, 128), "detectors": (1, 8), "ranks": (64, 64)}.get(options.what, (8, 128))
    batch = options.batch or (large if device.type == "cuda" else small)
    if options.what == "gpu":
        from sasa.bench.gpu import command  # its contenders take seconds

        try:
            failed = command.run(device.type, batch, options.to, options.cifar)
        except InputError as error:
            parser.error(str(error))
        except KeyboardInterrupt:
            print(f"stopped: {options.to} has what had come", file=sys.stderr)
            sys.exit(130)
        sys.exit(1 if failed else 0)
    if options.what == "ops":
        from sasa.bench import ops  # its contenders take seconds

        rows = ops.run(device, dtype, batch, options.quick)
    elif options.what == "stems":
        from sasa.bench import stems  # its contenders take seconds

        rows = stems.run(device, dtype, batch, options.quick)
    elif options.what == "images":
        from sasa.bench import images  # its contenders take seconds

        if options.images is None:
            parser.error("images needs a folder of photographs: --images FOLDER")
        torch.set_num_threads(1)
        rows = images.run(options.images, 3 if options.quick else 9)
    elif options.what == "ranks":
        from sasa.bench import ranks  # its contenders take seconds

        rows = ranks.run(batch, 4, 3 if options.quick else 9)
    elif options.what == "detectors":
        from sasa.bench import detectors  # its contenders take seconds

        rows = detectors.run(device, dtype, batch, options.quick)
    else:
        from sasa.bench import models  # its contenders take seconds

        rows = models.run(device, dtype, batch, options.quick, options.compile)
    conditions = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "dtype": str(dtype).removeprefix("torch."),
        "batch": batch,
        "torch": torch.__version__,
        "compiled": options.compile,
    }
    if options.json:
        options.json.write_text(json.dumps({"conditions": conditions, "rows": rows}, indent=1) + "\n")
    console = Console()
    console.print(", ".join(f"{x} {y}" for x, y in conditions.items()) + "; medians of alternating rounds")
    for table in dict.fromkeys(x["table"] for x in rows):
        console.print(render(table, [x for x in rows if x["table"] == table]))


def render(table: str, rows: list[dict[str, Any]]) -> Table:
    """One table, with each row's time as a ratio to the baseline's in the same place."""
    grid = Table(title=HEADINGS[table], title_justify="left")
    models = table in ("stems", "models", "demo", "detectors", "images", "ranks")
    names = ["network"] if models else ["shape", "extent", "contender"]
    times = ["step_ms", "images_a_second"] if models else ["forward_ms", "both_ms"]
    if table == "ranks":
        times = ["step_ms", "cpu_ms", "exchange_ms"]
    for name in [*names, *times, "peak_mb"]:
        head = name.replace("images_a_second", "images/s")
        grid.add_column(head, justify="left" if name in names else "right", no_wrap=True)
    time, baseline = times[0] if models else times[1], BASELINES.get(table)
    if baseline:
        grid.caption = f"speed: times as fast as {baseline}" + ("; in brackets by CPU time" if models else "")
        grid.add_column("speed", justify="right", no_wrap=True)
    for row in rows:
        cells = [str(row[x]) for x in names]
        cells += ["" if row[x] is None or row[x] != row[x] else f"{row[x]:.1f}" for x in [*times, "peak_mb"]]
        if baseline:
            place = [
                x
                for x in rows
                if x.get("shape") == row.get("shape") and baseline in (x.get("contender"), x.get("network"))
            ]
            speeds = [place[0][x] / row[x] if place else float("nan") for x in ([time, "cpu_ms"] if models else [time])]
            cells.append(row["failure"] or f"{speeds[0]:.2f}x" + "".join(f" ({x:.2f}x)" for x in speeds[1:]))
        grid.add_row(*cells)
    return grid


if __name__ == "__main__":
    main()
