"""pyunicore's Transport over one kept connection, and what its bare errors mean."""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from pyunicore.client import Transport
from pyunicore.credentials import AuthenticationFailedException

from inferkit.errors import ConfigError, ExecutorError
from inferkit_unicore import answers
from inferkit_unicore.config import UnicoreConfig

TIMEOUT = 60.0


class KeptTransport(Transport):
    """One httpx client and one security session for all resources; it cannot be pickled."""

    def __init__(self, credential: Any, http: httpx.Client, shared: dict | None = None):
        self._shared: dict[str, Any] = {"session": None} if shared is None else shared
        held = self._shared["session"]
        super().__init__(credential, verify=True, timeout=TIMEOUT)
        self._http = http
        self.last_session_id = held

    @property
    def last_session_id(self) -> str | None:
        return self._shared["session"]

    @last_session_id.setter
    def last_session_id(self, value: str | None) -> None:
        self._shared["session"] = value

    def _clone(self) -> KeptTransport:
        made = KeptTransport(self.credential, self._http, self._shared)
        made._preferences = self._preferences
        made.use_security_sessions = self.use_security_sessions
        return made

    def run_method(self, method: Any, **args: Any) -> httpx.Response:
        verb = method.__name__.upper()

        def kept(verify: Any, **options: Any) -> httpx.Response:
            return self._http.request(verb, **options)

        return super().run_method(kept, **args)

    @contextmanager
    def get_stream(self, **args: Any) -> Iterator[httpx.Response]:
        headers = self._headers(args)
        headers.pop("X-UNICORE-SecuritySession", None)
        most = {"most": answers.SHARD}  # of files; `Site.fetch` knows their sizes
        with self._http.stream("GET", headers=headers, timeout=self.timeout, extensions=most, **args
                               ) as response:
            yield response

    def __repr__(self) -> str:
        return f"<transport with {self.credential!r}>"

    def __reduce__(self):
        raise TypeError("a transport is not pickled: it holds credentials")


def http_client(config: UnicoreConfig) -> httpx.Client:
    """A client that verifies the server's certificate, unless told not to."""
    verify: Any = config.verify
    if config.verify and config.ca:
        file = Path(config.ca).expanduser()
        try:
            verify = ssl.create_default_context(cafile=str(file))
        except (OSError, ssl.SSLError):
            verify = None
        if verify is None:
            raise ConfigError(f"ca = {config.ca!r} is no PEM file of certificates")
    # Content as it lies on the disk: sizes and checksums are compared.
    return httpx.Client(verify=verify, timeout=TIMEOUT, headers={"Accept-Encoding": "identity"},
                        limits=httpx.Limits(max_connections=2, keepalive_expiry=120),
                        event_hooks={"response": [answers.bound]})


LOOPBACK = ("localhost", "127.0.0.1", "::1")


def homebound(http: httpx.Client, homes: Callable[[], Iterable[str]]) -> None:
    """Let a client ask its own sites alone, over TLS (loopback aside).

    Every request carries a token, and answers are full of links: one that leads to another host must
    not take the token there.
    """
    def check(request: httpx.Request) -> None:
        origin = _origin(request.url)
        if origin not in {_origin(httpx.URL(home)) for home in homes() if "://" in home}:
            raise ExecutorError(
                f"the site's answer leads to {origin[0]}://{origin[1]}, where your credentials do not "
                "go", fix="name that site as `site` or `registry`, if it is yours")
        if origin[0] != "https" and origin[1] not in LOOPBACK:
            raise ExecutorError(f"{request.url} is not encrypted, and your credentials would be read "
                                "on the way", allowed="https://…")

    http.event_hooks = {**http.event_hooks, "request": [check]}


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or {"https": 443, "http": 80}.get(url.scheme, 0)


class Trouble(Exception):
    """What went wrong with a request, in plain words: an HTTP status, or none at all.

    `code` is 0 where no answer came.  `untrusted`: the server's certificate is.
    """

    def __init__(self, code: int, message: str, untrusted: bool = False):
        super().__init__(f"{code} {message}" if code else message)
        self.code, self.message, self.untrusted = code, message, untrusted

    @classmethod
    def of(cls, cause: BaseException) -> Trouble:
        text = str(cause)
        if isinstance(cause, AuthenticationFailedException):
            return cls(403, "the site takes you for nobody (anonymous)")
        if "CERTIFICATE_VERIFY_FAILED" in text:
            return cls(0, text.partition("CERTIFICATE_VERIFY_FAILED]")[2].strip(" :") or text, True)
        found = re.match(r"(\d{3}) Server Error: (.*?)(?: for url: .*)?$", text, re.DOTALL)
        if found:
            return cls(int(found[1]), found[2])
        if isinstance(cause, httpx.HTTPStatusError):
            return cls(cause.response.status_code, "an answer that makes no sense here")
        return cls(0, f"{type(cause).__name__}: {text}" if text else type(cause).__name__)

    @property
    def passing(self) -> bool:
        """It may go away by itself."""
        return (self.code == 0 and not self.untrusted) or self.code in (408, 425, 429, 432) \
            or self.code >= 500


EXPECTED = (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, AuthenticationFailedException,
            OSError, ValueError, KeyError)
"""What pyunicore raises when a server misbehaves (KeyError: an answer without what is due)."""


class _NoSessions(logging.Filter):
    """Keeps session ids out of the HTTP library's debug log."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if "SecuritySession" in text:
            record.msg = re.sub(r"(SecuritySession', b')[^']*", r"\1***", text)
            record.args = ()
        return True


for _name in ("httpcore.http11", "httpcore.connection", "httpx"):
    logging.getLogger(_name).addFilter(_NoSessions())
