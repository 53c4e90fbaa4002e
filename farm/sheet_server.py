"""Shows the contact sheet on loopback while the farm waits, and takes the ticks."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LOOPBACK = "127.0.0.1"
MOST_BYTES = 1 << 20
MEDIA = "results/preview"


class SheetServer:
    """Serves the page and the previews of a store; use it as a context manager.

    page: makes the page with a token. picked: takes the ticked keys. Only a page that this server made
    knows the token, so no other site can tick. Nothing but loopback is listened on.
    """

    def __init__(self, store: Path, page: Callable[[str], str], picked: Callable[[list[str]], None]):
        self.store, self.page, self.picked = store, page, picked
        self.token = secrets.token_urlsafe(16)
        self._server = ThreadingHTTPServer((LOOPBACK, 0), self._handler())
        self.host = f"{LOOPBACK}:{self._server.server_port}"
        self.address = f"http://{self.host}/"

    def __enter__(self) -> SheetServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, given: bytes) -> HTTPStatus:
        """The ticked boxes as a list of keys in JSON."""
        try:
            keys = json.loads(given)
        except ValueError:
            return HTTPStatus.BAD_REQUEST
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            return HTTPStatus.BAD_REQUEST
        self.picked(keys)
        return HTTPStatus.OK

    def _handler(self) -> type[SimpleHTTPRequestHandler]:
        owner = self

        class Handler(_Handler):
            def __init__(self, *given, **named):
                self.owner = owner
                super().__init__(*given, directory=str(owner.store), **named)

        return Handler


class _Handler(SimpleHTTPRequestHandler):
    owner: SheetServer

    def do_GET(self) -> None:
        if not self.asked_for_us():
            self.send_error(HTTPStatus.FORBIDDEN)
        elif self.path == "/":
            self.answer(HTTPStatus.OK, self.owner.page(self.owner.token).encode())
        elif self.is_media():
            super().do_GET()
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def do_HEAD(self) -> None:
        self.send_error(HTTPStatus.METHOD_NOT_ALLOWED)

    def do_POST(self) -> None:
        given, length = self.headers.get("X-Token", ""), self.headers.get("Content-Length", "")
        if not self.asked_for_us() or not secrets.compare_digest(given.encode(), self.owner.token.encode()):
            self.send_error(HTTPStatus.FORBIDDEN)
        elif self.path != "/picks" or not length.isdecimal() or int(length) > MOST_BYTES:
            self.send_error(HTTPStatus.BAD_REQUEST)
        else:
            self.answer(self.owner.take(self.rfile.read(int(length))), b"")

    def is_media(self) -> bool:
        """Whether the path, decoded and with its dots and links followed, is a file of a preview."""
        file = Path(self.translate_path(self.path)).resolve()
        return file.is_file() and file.is_relative_to((self.owner.store / MEDIA).resolve())

    def asked_for_us(self) -> bool:
        """Whether the browser asked for this address, and not for another site's name that leads here."""
        return self.headers.get("Host", "") == self.owner.host

    def answer(self, status: HTTPStatus, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *given: object) -> None:
        """Requests are no news."""
