"""A page on this machine's loopback address, for a browser of this machine."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOOPBACK = "127.0.0.1"


class LiveView:
    """One page at `url`, until `stop`. Nothing else is served, to nobody else, and nothing is taken in."""

    def __init__(self, page: str, port: int = 0) -> None:
        self.page = page.encode()
        self._server = _listening(_handler(self.page), port)
        self._thread = threading.Thread(target=self._server.serve_forever, name="bige-view", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where a browser of this machine finds it."""
        return f"http://{LOOPBACK}:{self._server.server_address[1]}/"

    def wait(self) -> None:
        """Return when the view is stopped, from elsewhere or from the keyboard."""
        try:
            self._thread.join()
        except KeyboardInterrupt:
            self.stop()

    def stop(self) -> None:
        """Close the server."""
        self._server.shutdown()
        self._server.server_close()

    def __repr__(self) -> str:
        return f"<View at {self.url}>"


def _listening(handler: type[BaseHTTPRequestHandler], port: int) -> ThreadingHTTPServer:
    """On the port that was asked for, or on a free one where it is taken."""
    try:
        return ThreadingHTTPServer((LOOPBACK, port), handler)
    except OSError:
        return ThreadingHTTPServer((LOOPBACK, 0), handler)


def _handler(page: bytes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host = self.headers.get("Host", "").rsplit(":", 1)[0]
            if self.path != "/" or host not in (LOOPBACK, "localhost"):
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler
