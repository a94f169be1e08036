"""A container engine of loopback: as much of docker's API as watching and restarting needs, over a Unix socket."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Engine:
    """Its containers by id, and what was asked of it. `posts` are the paths of requests that change something."""

    def __init__(self, containers: list[dict[str, Any]]) -> None:
        self.containers = {container["id"]: dict(container) for container in containers}
        self.posts: list[str] = []

    def listed(self) -> list[dict[str, Any]]:
        """As /containers/json has them."""
        return [{"Id": known, "Names": [f"/{c['name']}"], "State": c["state"]} for known, c in self.containers.items()]

    def shown(self, known: str) -> dict[str, Any]:
        """As /containers/ID/json has one."""
        container = self.containers[known]
        state: dict[str, Any] = {"Status": container["state"], "ExitCode": container.get("exit_code", 0)}
        if container["health"]:
            state["Health"] = {"Status": container["health"]}
        return {"Id": known, "Name": f"/{container['name']}", "State": state, "RestartCount": container.get("restarts", 0)}

    def restart(self, known: str) -> None:
        """Well again."""
        self.containers[known] |= {"state": "running", "health": "healthy"}


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    engine: Engine


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *args: object) -> None:
        """Says nothing."""

    def _answer(self, status: int, document: Any = None) -> None:
        body = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        """Lists, or shows one by its id."""
        path = self.path.partition("?")[0]
        found = re.fullmatch(r"/containers/([^/]+)/json", path)
        if path == "/containers/json":
            self._answer(200, self.server.engine.listed())
        elif found is not None and found[1] in self.server.engine.containers:
            self._answer(200, self.server.engine.shown(found[1]))
        else:
            self._answer(404, {"message": "no such container"})

    def do_POST(self) -> None:
        """Restarts one by its id."""
        self.server.engine.posts.append(self.path)
        found = re.fullmatch(r"/containers/([^/]+)/restart", self.path.partition("?")[0])
        if found is None or found[1] not in self.server.engine.containers:
            self._answer(404, {"message": "no such container"})
            return
        self.server.engine.restart(found[1])
        self._answer(204)


@contextlib.contextmanager
def engine(path: str, containers: list[dict[str, Any]]) -> Iterator[Engine]:
    """An engine that listens on a socket."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with _Server(path, _Handler) as server:
        server.engine = Engine(containers)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server.engine
        finally:
            server.shutdown()
            thread.join()
