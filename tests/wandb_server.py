"""A small W&B server on this machine: it takes what wandb's own client sends, and can refuse, stall or vanish meanwhile."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

VIEWER = {"id": "1", "entity": "me", "username": "me", "email": "", "flags": "{}", "teams": {"edges": []}}
PROJECT = {"id": "2", "name": "trial", "entity": {"id": "3", "name": "me"}}
BUCKET = {"id": "4", "displayName": "", "project": PROJECT, "historyLineCount": 0}


class Server(ThreadingHTTPServer):
    """Answers GraphQL as far as a run asks, takes curves and files, and counts them.

    A mood is "well", "refuses" (each call is answered with the status 500), "stalls" (calls are taken and never answered)
    or "vanishes" (connections are closed at once); `later` is that after the first piece of a run's stream has come.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, mood: str = "well", later: str = "well") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.mood, self.later, self.over = mood, later, threading.Event()
        self.lines: list[dict[str, Any]] = []  # of the runs' history, as their client sends it
        self.files: set[str] = set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __exit__(self, *given: object) -> None:
        self.over.set()
        self.shutdown()
        super().__exit__(*given)

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        """What a call is answered with."""
        if path.endswith("/file_stream"):
            for name, content in (json.loads(body).get("files") or {}).items():
                if name == "wandb-history.jsonl":
                    self.lines += map(json.loads, content["content"])
            self.mood = self.later
        if path != "/graphql":
            return {}
        asked = json.loads(body)
        given = asked.get("variables", {})
        names = given.get("files", [])
        fields = {
            "viewer": VIEWER,
            "upsertBucket": {"bucket": BUCKET | {"name": given.get("name")}, "inserted": True},
            "createRunFiles": {
                "runID": "4",
                "uploadHeaders": [],
                "files": [{"name": name, "uploadUrl": f"{self.address}/upload/{name}"} for name in names],
            },
        }
        return {"data": {name: content for name, content in fields.items() if name in asked["query"]}}


class Handler(BaseHTTPRequestHandler):
    """A call."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *given: object) -> None:
        """The terminal is the tests'."""

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.mood == "stalls":
            self.server.over.wait()
        if self.server.mood in ("stalls", "vanishes"):
            self.close_connection = True
            return
        if self.command == "PUT":
            self.server.files.add(self.path.removeprefix("/upload/"))
        status = 500 if self.server.mood == "refuses" else 200
        content = json.dumps(self.server.answer(self.path, body)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = answer
