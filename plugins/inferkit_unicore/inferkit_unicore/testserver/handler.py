"""The REST interface: one request in, one answer out, over connections that are kept alive."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from inferkit_unicore.testserver import auth, files
from inferkit_unicore.testserver.routes import Answer, Routes


def make_handler(site: Any, secure: bool) -> type[BaseHTTPRequestHandler]:
    return type("Handler", (_Handler,), {"site": site, "secure": secure, "over": site.stopped})


class _Handler(Routes, BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one write an answer
    disable_nagle_algorithm = True
    timeout = 60
    over: Any  # set once this server has stopped: kept connections end with it

    def log_message(self, *_: Any) -> None:
        pass

    def setup(self) -> None:
        if self.secure:
            self.request.settimeout(10)
            self.request.do_handshake()
        self.site.connections += 1
        super().setup()

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_DELETE = do_GET

    # -- one request -----------------------------------------------------------------------------

    def _serve(self) -> None:
        split = urlsplit(self.path)
        self.where, self.query = unquote(split.path), parse_qs(split.query)
        body = self._body()
        if self.over.is_set():
            return self._hang_up()
        method = self.command
        fault = self.site.faults.take(method, self.where)
        options = fault.options if fault else {}
        action = fault.action if fault else ""
        late = options.get("after", False)
        if action == "delay":
            time.sleep(options["seconds"])
        if action == "expire_sessions":
            self.site.users.forget_sessions()
        if action == "close" and not late:
            return self._hang_up()
        if action == "status" and not late:
            return self._error(options["code"], options.get("message", "injected"))
        try:
            self.user = self._who()
            status, content, headers = self.route(method, body)
        except Answer as answer:
            return self._error(answer.status, answer.message)
        except files.Missing:
            return self._error(404, None)
        except (ValueError, KeyError, TypeError) as cause:
            return self._error(500, f"{type(cause).__name__}: {cause}")
        if action == "close":
            return self._hang_up()
        if action == "status":
            return self._error(options["code"], options.get("message", "injected"))
        if action == "truncate":
            content = content[: int(len(content) * options.get("fraction", 0.5))]
        if action == "replace":
            status, content = 200, options["body"]
        cut = int(len(content) * options.get("fraction", 0.5)) if action == "reset" else None
        return self._send(status, content, headers, cut)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _who(self) -> str:
        self.session = None
        users = self.site.users
        given = self.headers.get("X-UNICORE-SecuritySession")
        if given:
            user = users.of_session(given)
            if user is None:
                raise Answer(432)
            self.session = given
            return user
        user = users.authenticate(self.headers.get("Authorization"))
        if user is None:
            raise Answer(403, "Access denied: authentication failed")
        if user != "anonymous":
            self.session = users.session(user)
        return user

    def _send(self, status: int, content: bytes, headers: dict, cut: int | None = None) -> None:
        self.site.requests.append((self.command, self.where, status))
        self.send_response(status)
        if getattr(self, "session", None) and status < 400:
            self.send_header("X-UNICORE-SecuritySession", self.session or "")
            self.send_header("X-UNICORE-SecuritySessionLifetime", str(auth.LIFETIME_MS))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if cut is None else content[:cut])
        self.wfile.flush()
        if cut is not None:
            self._hang_up()

    def _error(self, status: int, message: str | None) -> None:
        body = b""
        headers = {}
        if message is not None and status not in (404, 432):
            body = json.dumps({"errorMessage": message, "status": status}).encode()
            headers = {"Content-Type": "application/json"}
        self._send(status, body, headers)

    def _hang_up(self) -> None:
        """A reset, not an orderly end."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
