"""A fake deployed service for load tests: with a path prefix, an API key, and TLS if it has a certificate."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

KEY = "a-key-that-nobody-guesses"
PATH = "/asr"


class Answering(BaseHTTPRequestHandler):
    """Answers every clip with the same text, if the API key is correct."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:  # the name that http.server calls
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != f"{PATH}/transcribe":
            self.answer(404, {"error": {"code": "not_found", "message": self.path}})
        elif self.headers["Authorization"] != f"Bearer {KEY}":
            self.answer(401, {"error": {"code": "unauthorized", "message": "send an API key"}})
        else:
            self.answer(200, {"text": "evet doğru", "model": "far-away", "backend": "openvino"})

    def do_GET(self) -> None:
        self.answer(404, {})

    def answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # named by http.server
        """Do not log requests."""


@contextmanager
def deployed(certificate: Path | None = None) -> Iterator[str]:
    """The URL of such a service. certificate: PEM file with a certificate for localhost and its key; None for HTTP."""
    server = ThreadingHTTPServer(("localhost", 0), Answering)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"{'https' if certificate else 'http'}://localhost:{server.server_port}{PATH}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
