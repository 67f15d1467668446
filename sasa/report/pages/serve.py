"""`python -m sasa.report browse`: the dashboard on this machine's own address, fresh while runs go on."""

import argparse
import errno
import hashlib
import os
import signal
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy  # noqa: F401  before there are threads: Altair, in one, takes what another has imported by half for whole

from sasa.errors import InputError
from sasa.records.collect import HIDDEN, lost
from sasa.report.pages import script
from sasa.report.pages.files import NOTES, PICTURES, Curves
from sasa.report.pages.site import ASSETS, TEMPLATES, Site

HOST, PORT = "127.0.0.1", 8517
WATCHED = (
    "config.json",
    "result.json",
    "metrics.jsonl",
    "heartbeat.json",
    "attention.json",
    "samples.png",
    "by_class.csv",
    NOTES,
    HIDDEN,
)
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".png": "image/png"}


class Server(ThreadingHTTPServer):
    """Render what is asked for from the record files as they are then."""

    daemon_threads = True

    def __init__(self, output: Path, port: int) -> None:
        self.output, self.lock = output, threading.Lock()
        self.known: dict[str, tuple[object, Curves]] = {}
        self.site, self.stamp = Site(output, live=True, curves=self.known), self.changes()
        super().__init__((HOST, port), Handler)
        threading.Thread(target=script.script, daemon=True).start()  # the first page need not wait for it

    def changes(self) -> str:
        """A text that differs whenever a record file does; and when a run that goes on is lost."""
        digest = hashlib.sha256()
        for folder, subfolders, files in os.walk(self.output):
            subfolders[:] = sorted(name for name in subfolders if name != "dashboard" and not name.startswith("."))
            for name in sorted(set(files).intersection(WATCHED)):
                try:
                    stat = os.stat(os.path.join(folder, name))
                except OSError:
                    continue
                digest.update(f"{folder}/{name} {stat.st_mtime_ns} {stat.st_size};".encode(errors="surrogatepass"))
        for run in self.site.runs if hasattr(self, "site") else ():
            if run.status == "running":
                digest.update(f"{run.folder} {lost(run)};".encode(errors="surrogatepass"))
        return digest.hexdigest()

    def fresh(self) -> Site:
        """The site of the record files as they are now; one reading of them serves until they change."""
        with self.lock:
            stamp = self.changes()
            if stamp != self.stamp:
                self.site = Site(self.output, live=True, curves=self.known)
                self.stamp = stamp
            return self.site

    def answer(self, name: str) -> bytes:
        """What lies at a path. KeyError or OSError for what is not there."""
        if name == "changes":
            return self.changes().encode()
        if name == script.NAME:
            return script.script().encode()
        if name in ASSETS:
            return (TEMPLATES / name).read_bytes()
        site = self.fresh()
        if name.endswith(".png"):
            stem, _, picture = name.removeprefix("runs/").partition("-")
            if picture not in PICTURES:
                raise KeyError(name)
            return (site.places[site.by_id[stem].folder] / picture).read_bytes()
        return site.render(name).encode("utf-8", errors="replace")


class Handler(BaseHTTPRequestHandler):
    """GET alone, and for this address alone, so that no page from elsewhere can read the runs."""

    server: Server

    def do_GET(self) -> None:
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        name = unquote(urlsplit(self.path).path).removeprefix("/") or "index.html"
        try:
            if host not in (HOST, "localhost"):
                self.reply(HTTPStatus.FORBIDDEN, b"this page is for this machine alone\n", "text/plain")
                return
            self.reply(HTTPStatus.OK, self.server.answer(name), TYPES.get(Path(name).suffix, "text/plain"))
        except (KeyError, FileNotFoundError):
            self.reply(HTTPStatus.NOT_FOUND, b"there is no such page\n", "text/plain")
        except (BrokenPipeError, ConnectionResetError):
            pass

    def reply(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8" if kind.startswith("text") else kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


def serve(output: Path, port: int) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {output} is no folder and cannot be made one: {error.strerror}") from error
    try:
        server = Server(output, port)
    except OverflowError as error:
        raise InputError(f"--port {port}: expected a number from 0 to 65535") from error
    except OSError as error:
        what = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
        raise InputError(f"port {port} {what}: give another one with --port, or --port 0 for any") from error

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)  # a shell's background job begins with Ctrl-C ignored
    print(f"http://{HOST}:{server.server_port}/  (Ctrl-C stops it)", flush=True)
    try:
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        print("\nstopped", flush=True)
    finally:
        server.server_close()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m sasa.report browse", description=__doc__, allow_abbrev=False)
    parser.add_argument("--output", type=Path, default=Path("outputs"), metavar="DIR", help="where the runs are")
    parser.add_argument("--port", type=int, default=PORT, help=f"0 takes any that is free (default: {PORT})")
    options = parser.parse_args(arguments)
    serve(options.output, options.port)
