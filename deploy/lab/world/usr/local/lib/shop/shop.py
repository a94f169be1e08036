"""The lab's patient: a small HTTP service that can be killed from outside, and made deaf with SIGUSR1.

GET /healthz answers 200 until it is deaf; then it takes connections and answers nobody, like a service whose workers all hang.
"""

import http.server
import signal
import sys
import threading

DEAF = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers one request, or never."""

    def do_GET(self) -> None:
        """200 for /healthz, 404 for the rest, silence when deaf."""
        if DEAF.is_set():
            threading.Event().wait()
        body = b"ok\n"
        self.send_response(200 if self.path == "/healthz" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing: the journal is for what matters."""


class Server(http.server.ThreadingHTTPServer):
    """A thread for each connection."""

    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """Says nothing about clients that hang up."""


def main() -> None:
    """Serves on loopback at the port named on the command line, until it is killed."""
    signal.signal(signal.SIGUSR1, lambda *_: DEAF.set())
    with Server(("127.0.0.1", int(sys.argv[1])), Handler) as server:
        server.serve_forever()


main()
