"""One UNICORE site: every call to it, with its retries, and errors that say what to do.

Requests that may be repeated are, with growing pauses, until `patience` is over.  A job is posted
so that it exists once: after any doubtful answer it is first looked for by its tag.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import random
import sys
import time
from collections.abc import Callable
from typing import Any

from pyunicore.client import Client, Job, PathFile, Registry, Storage

from inferkit.errors import ExecutorError
from inferkit_unicore import answers, credentials, transport
from inferkit_unicore.config import UnicoreConfig
from inferkit_unicore.transport import EXPECTED, Trouble

PAGE = 200
PAUSE, PAUSE_MAX = 0.5, 30.0
ATTEMPTS = 5
"""Downloads of a file whose content is not what the manifest says."""


class Gone(Exception):
    """The job or file is not there (404)."""


class Corrupt(Exception):
    """A file is there, but not with the content that it should have."""


def say(text: str) -> None:
    print(f"unicore: {text}", file=sys.stderr, flush=True)


class Site:
    """A connection to a site.  `url` is its address, known once it is connected."""

    def __init__(self, config: UnicoreConfig):
        self.config = config
        self.url = config.site
        self._http = transport.http_client(config)
        transport.homebound(self._http, lambda: (self.url, config.registry))
        self.who = credentials.find(config, lambda: transport.http_client(config))
        self.transport = transport.KeptTransport(self.who, self._http)
        if config.preferences:
            self.transport.preferences = config.preferences
        self._storages: dict[str, str] = {}
        self.patience = min(config.patience, 30.0)  # until it has answered once

    def __repr__(self) -> str:
        return f"<site {self.url}>"

    def connect(self) -> Site:
        if "://" not in self.url:
            self.url = self._from_registry()
        self.url = self.url.rstrip("/")
        self.client = self.ask("the site", lambda: Client(self.transport, self.url))
        self.patience = self.config.patience
        return self

    def _from_registry(self) -> str:
        known = self.ask("the registry",
                         lambda: Registry(self.transport, self.config.registry).site_urls)
        if not self.url and len(known) == 1:
            return next(iter(known.values()))
        if self.url not in known:
            raise ExecutorError(f"the registry {self.config.registry} has no site {self.url!r}",
                                allowed=", ".join(sorted(known)) or "it lists none",
                                fix=f'site = "{min(known, default="…")}"')
        return known[self.url]

    def close(self) -> None:
        self._http.close()

    # -- asking ----------------------------------------------------------------------------------

    def ask(self, what: str, do: Callable[[], Any]) -> Any:
        """The answer to a request that may be repeated; Gone where there is no such thing."""
        start, pause, refused, told = time.monotonic(), PAUSE, 0, False
        while True:
            trouble = None
            try:
                return do()
            except EXPECTED as cause:
                trouble = Trouble.of(cause)
            # Raised out here, so that no error carries a request with its headers along.
            if trouble.code in (404, 410):
                raise Gone(what)
            if trouble.code in (401, 403):
                refused += 1
                self.transport.last_session_id = None
                self.who.renew()
                if refused > 2:
                    raise self.refused(trouble)
            elif not trouble.passing:
                raise self.error(what, trouble)
            elif time.monotonic() - start > self.patience:
                raise self.away(what, trouble)
            if not told and time.monotonic() - start > 20:
                told = True
                say(f"{self.url} does not answer ({self.clean(trouble)}); trying on")
            self.pause(pause)
            pause = min(2 * pause, PAUSE_MAX)

    @staticmethod
    def pause(seconds: float) -> None:
        time.sleep(seconds * random.uniform(0.75, 1.25))

    def clean(self, what: Any) -> str:
        return answers.printable(self.who.redact(str(what)))

    def refused(self, trouble: Trouble) -> ExecutorError:
        fixes = {
            "password": f"check username and {self.config.password_env}",
            "token": "get a new token; running jobs go on, and "
                     "`inferkit resume` collects what they did",
            "jwt": "check username and key_file, and that the site knows the key",
        }
        return ExecutorError(
            f"{self.url} refuses {self.who.label}: {self.clean(trouble)}",
            fix=fixes.get(self.who.kind, "log in again, then `inferkit resume`"))

    def away(self, what: str, trouble: Trouble) -> ExecutorError:
        return ExecutorError(
            f"{self.url} ({what}) has not answered for {self.patience:g} s: "
            f"{self.clean(trouble)}",
            fix="submitted jobs go on without it; `inferkit resume` finds them when it is back")

    def error(self, what: str, trouble: Trouble) -> ExecutorError:
        if trouble.untrusted:
            return ExecutorError(
                f"the certificate of {self.url} is not trusted: {self.clean(trouble)}",
                allowed="a certificate signed by an authority that this machine knows, or by `ca`",
                fix='ca = "site-ca.pem"   (ask the site for it)')
        return ExecutorError(f"{self.url} ({what}): {self.clean(trouble)}")

    # -- jobs ------------------------------------------------------------------------------------

    def submit(self, description: dict, tag: str) -> str:
        """The URL of a job that exists once, however the site answered."""
        start, pause, refused, rejected = time.monotonic(), PAUSE, 0, 0
        while True:
            try:
                return self.client.new_job(dict(description), autostart=False).resource_url
            except EXPECTED as cause:
                trouble = Trouble.of(cause)
            if trouble.code in (401, 403):
                refused += 1
                self.transport.last_session_id = None
                self.who.renew()
                if refused > 2:
                    raise self.refused(trouble)
            elif not trouble.passing:
                raise self._rejected(trouble)
            else:
                self.pause(pause)
                if found := self.find(tag):
                    return found
                rejected += trouble.code == 500
                if trouble.code == 503:
                    self._check_submission()
                if rejected >= 3:
                    raise self._rejected(trouble)
                if time.monotonic() - start > self.patience:
                    raise self.away("submitting a job", trouble)
            pause = min(2 * pause, PAUSE_MAX)

    def _rejected(self, trouble: Trouble) -> ExecutorError:
        return ExecutorError(f"{self.url} takes no such job: {self.clean(trouble)}",
                             fix="check queue, project, runtime and resources")

    def _check_submission(self) -> None:
        told = self.properties().get("server", {}).get("jobSubmission", {})
        if told.get("enabled", True) is False:
            raise ExecutorError(
                f"{self.url} takes no jobs now: {self.clean(told.get('message') or 'no reason given')}",
                fix="`inferkit resume` later; what is stored or running is not lost")

    def properties(self) -> dict:
        return self.ask("the site", lambda: answers.table(
            self.transport.get(url=self.url), "the site"))

    def check_job_settings(self) -> None:
        """Refuse an unknown queue before anything is submitted."""
        told = self.properties()
        queues = told.get("client", {}).get("queues", {}).get("availableQueues") or []
        if self.config.queue and queues and self.config.queue not in queues:
            raise ExecutorError(f"{self.url} has no queue {self.config.queue!r} for you",
                                allowed=", ".join(queues), fix=f'queue = "{queues[0]}"')
        if told.get("server", {}).get("jobSubmission", {}).get("enabled", True) is False:
            self._check_submission()

    def jobs(self, tag: str) -> list[str]:
        """URLs of all jobs with a tag, page by page; the newest first."""
        url = self.ask("the site", lambda: self.client.links["jobs"])
        found: list[str] = []
        while True:
            query = {"offset": len(found), "num": PAGE, "tags": tag}
            told = self.ask("the list of jobs",
                            functools.partial(self.transport.get, url=url, params=query))
            page = [u for u in told["jobs"] if u not in found]
            found += page
            if not page or (len(page) < PAGE and "next" not in told.get("_links", {})):
                return found

    def find(self, tag: str) -> str | None:
        """The one job of a tag; superfluous twins are removed."""
        mine = []
        for url in self.jobs(tag):
            try:
                if tag in self.job(url, "tags").get("tags", []):
                    mine.append(url)
            except Gone:
                continue
        for url in mine[1:]:
            self.delete(url)
        return mine[0] if mine else None

    def job(self, url: str, *fields: str) -> dict:
        params = {"fields": ",".join(fields)} if fields else {"fields": "!log"}
        return self.ask("a job", lambda: answers.table(
            self.transport.get(url=url, params=params), "a job"))

    def log(self, url: str) -> list[str]:
        return self.job(url, "log").get("log", [])

    def start(self, url: str) -> None:
        self.ask("starting a job", Job(self.transport, url).start)

    def abort(self, url: str) -> None:
        self.ask("stopping a job", Job(self.transport, url).abort)

    def delete(self, url: str) -> None:
        """Job and working directory; one that is gone is fine."""
        with contextlib.suppress(Gone):
            self.ask("deleting a job", Job(self.transport, url).delete)

    # -- files -----------------------------------------------------------------------------------

    def storage(self, name: str) -> str:
        """The URL of one of the site's own storages."""
        if not self._storages:
            urls = self.ask("the list of storages", lambda: self.client.get_storages())
            self._storages = {s.resource_url.rpartition("/")[2]: s.resource_url for s in urls}
        if name not in self._storages:
            raise ExecutorError(f"{self.url} has no storage {name!r}",
                                allowed=", ".join(sorted(self._storages)) or "it offers none",
                                fix=f'storage = "{min(self._storages, default="…")}"')
        return self._storages[name]

    def ready(self, storage: str) -> None:
        """Wait until a storage can be written."""
        start, pause = time.monotonic(), 0.2
        while True:
            told = self.ask("a storage", lambda: self.transport.get(url=storage))
            status = told.get("resourceStatus", "READY")
            if status == "READY":
                return
            if status == "ERROR" or time.monotonic() - start > self.patience:
                raise ExecutorError(f"{storage} is not ready: {status}",
                                    fix="ask the site; `inferkit resume` when it is mended")
            self.pause(pause)
            pause = min(2 * pause, 10.0)

    def put(self, storage: str, name: str, data: bytes) -> None:
        """Upload; bytes, not a file, so that a lost session can repeat it."""
        self.ask(f"uploading {name}", lambda: Storage(self.transport, storage).put(data, name))

    def size(self, storage: str, name: str) -> int | None:
        """A remote file's size; None where there is none."""
        try:
            return self.ask(name, lambda: Storage(self.transport, storage).contents(name))["size"]
        except Gone:
            return None

    def rename(self, storage: str, source: str, target: str) -> None:
        self.ask(target, lambda: Storage(self.transport, storage).rename(source, target))

    def remove(self, storage: str, name: str) -> None:
        with contextlib.suppress(Gone):
            self.ask(name, lambda: Storage(self.transport, storage).rm(name))

    def fetch(self, storage: str, name: str, size: int | None = None, sha256: str = "") -> bytes:
        """A file's content, checked; a transfer that breaks off goes on where it stopped."""
        place = Storage(self.transport, storage)
        file = PathFile(place, place._to_file_url(name), name)
        data = bytearray()
        for attempt in range(ATTEMPTS):
            self.ask(f"downloading {name}", lambda: self._download(file, data, size))
            if (size is None or len(data) == size) and (
                    not sha256 or hashlib.sha256(data).hexdigest() == sha256):
                return bytes(data)
            data.clear()  # it came to its end, and was something else
            self.pause(0.1 * 2**attempt)
        raise Corrupt(f"{name} is not what its manifest says, {ATTEMPTS} times")

    @staticmethod
    def _download(file: PathFile, data: bytearray, size: int | None) -> None:
        if size is None:
            data.clear()
        with file.raw(offset=len(data)) as response:
            if response.status_code == 416:  # nothing beyond what is there already
                return
            if response.status_code >= 400:
                response.read()
                file.transport.check_error(response)
            if response.status_code != 206:
                data.clear()
            most = answers.FILE if size is None else size
            for part in response.iter_raw():
                data += part
                if len(data) > most:
                    if size is None:
                        raise ExecutorError(
                            f"{file} is larger than {most >> 20} MB, and was not read on",
                            fix="look into the job's folder at the site")
                    return  # it is not what the manifest says
