"""The UNICORE executor: chunks become jobs, published shards become stored rows.

Nothing is asked of the site before there is something to simulate.  Then the jobs of an earlier
process are found first (`adopted`), so that nothing runs twice; what is left is cut into at most
`max_jobs` jobs at a time, each big enough to be worth its wait in the queue.  One thread does all
of it, inside `wait`.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from inferkit.data import Chunk, Job, Receipt
from inferkit.errors import ConfigError, ExecutorError, SimulatorError
from inferkit.simulate.node import JSON, write_batch
from inferkit.store import Store
from inferkit_unicore.campaign import Campaign
from inferkit_unicore.config import UnicoreConfig

LEAST_SECONDS = 60.0
"""A job is not made shorter than this only to have more of them."""
TELL_SECONDS = 30.0


class UnicoreExecutor:
    """Jobs at an HPC site; they outlive this process."""

    def __init__(self, config: UnicoreConfig):
        self.config = config.resolved()
        self.slots = self.config.max_jobs
        self.retries = self.config.retries
        self.grace = 0.0 if self.config.on_interrupt == "detach" else 30.0
        self._site: Any = None
        self._flying: dict[str, Any] = {}
        self._found: list[Any] = []
        self._ready: list[Receipt] = []
        self._payload_sha = self._payload_url = ""
        self._cores = self.config.cpus_per_node * self.config.nodes
        self._told: tuple[float, Counter] = (time.monotonic(), Counter())
        self._checked = False
        self._leave = ""

    def __repr__(self) -> str:
        return f"<UNICORE executor at {self.config.site or self.config.registry}>"

    def __reduce__(self):
        raise TypeError("the UNICORE executor is not pickled: it holds a connection")

    @property
    def workers(self) -> int:
        return max(1, self._cores) * self.config.max_jobs

    # -- the driver's side -----------------------------------------------------------------------

    def open(self, job: Job) -> None:
        if job.store is None:
            raise ExecutorError("the UNICORE executor needs a run folder")
        if not (self.config.site or self.config.registry):
            raise ConfigError("executor 'unicore': no site",
                              allowed="site or registry, or UNICORE_SITE in the environment",
                              fix='site = "https://HOST/SITE/rest/core"')
        self.job = job
        self.store = Store(Path(job.store), {})
        self.store.key = job.key
        self.campaign = Campaign(Path(job.store), job.key)

    def adopted(self, round: int, wanted: np.ndarray) -> list[Chunk]:
        """Chunks of jobs that an earlier process submitted, as far as their rows are wanted."""
        self._connect()
        chunks = []
        for remote in list(self._found):
            if remote.round != round:
                continue
            mine = np.intersect1d(remote.index, wanted)
            if not len(mine):
                continue
            wanted = np.setdiff1d(wanted, mine)
            remote.wanted = mine
            self._found.remove(remote)
            self._flying[remote.chunk] = remote
            chunks.append(Chunk(remote.chunk, round, mine, {}))
        if chunks:
            self._say(f"goes on with {len(chunks)} jobs of before")
        return chunks

    def chunk_rows(self, left: int, cost: float) -> int:
        """Rows of the next job, given the rows left and the seconds a simulation (0: unknown)."""
        if self.config.rows_per_job:
            return self.config.rows_per_job
        cost = cost or self.config.simulation_seconds
        free = max(1, self.slots - len(self._flying))
        share = math.ceil(left / free)
        cores = max(1, self._cores)
        if not cost:
            return max(share, cores)
        most = min(60 * self.config.job_minutes, 0.9 * self.config.stop_after) * cores / cost
        least = max(cores, LEAST_SECONDS * cores / cost)
        return int(max(1, cores, min(max(share, least), most)))

    def submit(self, chunk: Chunk) -> str:
        from inferkit_unicore.campaign import CHUNK
        from inferkit_unicore.remote import Remote
        from inferkit_unicore.site import Gone
        from inferkit_unicore.staging import PROGRESS, SCRIPT, description, script

        self._connect()
        self._stage()
        config, site = self.config, self._site
        told = description(config, self.campaign.tag, chunk.id, len(chunk), self._payload_url)
        workers = config.workers
        if workers == "auto" and config.cpus_per_node:
            workers = max(1, config.cpus_per_node // config.threads)
        files = write_batch(
            self.job, chunk, workers=workers, threads=config.threads, memory=config.memory,
            stop_after=config.stop_after, grace=0.5 * (config.runtime_seconds - config.stop_after),
            publish_seconds=config.collect_seconds, progress_file=PROGRESS, ranks=config.nodes)
        self.campaign.intend(chunk.id, chunk.round, chunk.index, site.url)
        url = site.submit(told, CHUNK + chunk.id)
        self.campaign.write("job", chunk.id, url=url)
        remote = Remote(site, self.store, config, chunk.id, chunk.round, chunk.index, url)
        self._flying[chunk.id] = remote
        try:
            remote.look()
            site.ready(remote.folder)
            # The JSON first: another client that finds the job reads in it what the job will do.
            files = {JSON: files[JSON], SCRIPT: script(config, self._payload_sha), **files}
            for name, data in files.items():
                site.put(remote.folder, name, data)
            site.start(url)
        except Gone:
            self._ready.append(Receipt(chunk.id, lost=f"{url} vanished before it was started"))
        return url

    def wait(self, timeout: float) -> list[Receipt]:
        end = time.monotonic() + timeout
        while True:
            receipts, self._ready = self._ready, []
            for remote in [r for r in self._flying.values() if r.due <= time.monotonic()]:
                receipt = remote.poll()
                if receipt is not None:
                    receipts.append(receipt)
                    if receipt.error is not None:
                        break
            for receipt in receipts:
                self._account(receipt)
            self._tell()
            now = time.monotonic()
            if receipts or now >= end:
                return receipts
            due = min((r.due for r in self._flying.values()), default=end)
            time.sleep(max(0.0, min(due, end) - now))

    def cancel(self) -> None:
        """Detach, or stop the jobs where that is wanted or where they would run for nothing."""
        if not self._flying:
            return
        cause = sys.exc_info()[1]
        useless = isinstance(cause, SimulatorError)
        asked = cause is None or isinstance(cause, KeyboardInterrupt)
        if not (useless or asked and self.config.on_interrupt == "cancel"):
            self.grace = 0.0
            self._leave = (f"{len(self._flying)} jobs go on at {self._site.url}; collect them with: "
                           f"inferkit resume {self.store.path}")
            return
        from inferkit_unicore.site import Gone

        self.grace = 30.0
        for remote in self._flying.values():
            self.campaign.write("cancelled", remote.chunk)
            remote.cancelled = True
            remote.due = 0.0
            with contextlib.suppress(ExecutorError, Gone):
                self._site.abort(remote.url)

    def close(self) -> None:
        if self._leave:
            self._say(self._leave)
        if self._site is not None:
            self._site.close()
        self._site = None

    # -- behind it -------------------------------------------------------------------------------

    def _connect(self) -> None:
        if self._site is not None:
            return
        from inferkit_unicore.site import Site

        self._site = Site(self.config).connect()
        self.campaign.keep_settings(self.config, self.job.key)
        self._attach()

    def _attach(self) -> None:
        """Find this study's jobs at the site, by the journal and by their tag."""
        from inferkit_unicore.attach import attach

        self._found = attach(self._site, self.store, self.campaign, self.config)

    def _stage(self) -> None:
        """Send the packages and files that every job needs, once a site."""
        config = self.config
        if self._checked:
            return
        self._site.check_job_settings()
        self._checked = True
        if not (config.stage or config.packages):
            return
        from inferkit_unicore.staging import payload, payload_name

        data = payload(config)
        name, storage = payload_name(data), self._site.storage(config.storage)
        if self._site.size(storage, name) != len(data):
            self._say(f"sends {len(data) / 1e6:.1f} MB to {config.storage}/{name}, once")
            part = f"{name}.{self.campaign.tag[-8:]}.part"
            self._site.put(storage, part, data)
            self._site.rename(storage, part, name)
        self._payload_sha = hashlib.sha256(data).hexdigest()
        self._payload_url = f"{storage}/files/{name}"

    def _account(self, receipt: Receipt) -> None:
        remote = self._flying.get(receipt.chunk)
        if remote is None:
            return
        self._cores = self._cores or remote.workers
        if receipt.partial:
            return
        del self._flying[receipt.chunk]
        # A job that ended in an error of its own is asked again after the cause is mended.
        self.campaign.write("void" if receipt.lost or receipt.error else "done", receipt.chunk)

    def _tell(self) -> None:
        """Where the jobs stand, when that changed."""
        last, before = self._told
        now = Counter(r.status for r in self._flying.values())
        if now != before and time.monotonic() - last > TELL_SECONDS and now:
            self._told = time.monotonic(), now
            self._say(", ".join(f"{n} {s}" for s, n in sorted(now.items())))

    @staticmethod
    def _say(text: str) -> None:
        from inferkit_unicore.site import say

        say(text)

