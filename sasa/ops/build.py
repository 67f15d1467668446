"""C++ sources, compiled at first use for the machine's own instructions, and kept."""

import functools
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

FOLDER = Path(__file__).parent
FLAGS = ["-O3", "-march=native", "-std=c++20", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math"]
DTYPES = (torch.float32, torch.bfloat16)


def unavailable(source: str, device: str, dtype: torch.dtype) -> str | None:
    """Why a C++ backend cannot run on a type of device and of data; None where it can. Compiles at the first call."""
    if device != "cpu":
        return f"it computes on the CPU, not on {device}"
    if dtype not in DTYPES:
        return f"it computes in float32 and bfloat16, not in {str(dtype).removeprefix('torch.')}"
    return load(source)


@functools.cache
def load(source: str) -> str | None:
    """Load the library of a source, compiled first if need be; the reason if that fails, which is also said, once."""
    compiler = os.environ.get("CXX", "c++")
    library = cache() / f"{source}_{build_key(source, compiler)}.so"
    reason = None if library.exists() else compile(source, compiler, library)
    if reason is None:
        try:
            torch.ops.load_library(library)
        except OSError as error:
            reason = f"{library} did not load: {error}"
    if reason is not None:
        print(f"sasa: no C++ {source} here, slower operations of PyTorch stand in: {reason}", file=sys.stderr)
    return reason


def cache() -> Path:
    """The folder for compiled libraries: PyTorch's own for extensions."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "torch_extensions"
    return Path(os.environ.get("TORCH_EXTENSIONS_DIR", default)) / "sasa"


def build_key(source: str, compiler: str) -> str:
    """A name for what the library depends on: sources, flags, compiler, PyTorch, processor."""
    texts = [(FOLDER / name).read_text() for name in ("lanes.h", f"{source}.cpp")]
    facts = [*texts, *FLAGS, compiler, torch.__version__, platform.machine(), processor()]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def processor() -> str:
    """The processor's instruction sets, since -march=native compiles for them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


def compile(source: str, compiler: str, library: Path) -> str | None:
    """Compile to a file of this process alone, then rename it: processes that compile at once do not disturb."""
    root = Path(torch.__file__).parent
    print(f"sasa: compiling {source}.cpp for this processor (once, some seconds) ...", file=sys.stderr)
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            made = Path(folder) / library.name
            command = [compiler, *FLAGS, f"-I{root / 'include'}", str(FOLDER / f"{source}.cpp"), "-o", str(made)]
            command += [f"-L{root / 'lib'}", "-ltorch_cpu", "-lc10"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                first = next((x for x in done.stderr.splitlines() if "error" in x), done.stderr.strip()[:200])
                return f"{compiler} failed: {first}"
            made.replace(library)
    except OSError as error:
        return f"{compiler} did not run: {error}"
    return None
