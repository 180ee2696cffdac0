"""Jobs: one folder and one process group each, and the states a UNICORE job goes through.

A job's record is a JSON file, rewritten at every step, so that a restarted server finds its jobs.
As on a real site, Executable and Arguments are joined into a line of bash without any quoting, all
that is known of how a job ended is the file that its script leaves, and arrays run one task.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from inferkit_unicore.testserver import files

EXIT_CODE = "UNICORE_SCRIPT_EXIT_CODE"
PROGRESS = ".UNICORE_PROGRESS_INDICATION"
ENDED = ("SUCCESSFUL", "FAILED")
KILL_WAIT = 1.0
"""Seconds between a batch system's polite signal and the other one."""

_children: dict[int, subprocess.Popen] = {}  # by pid; they outlive a server that is restarted


class Job:
    """One job; its state is `told`, which is on disk."""

    def __init__(self, site: Any, told: dict[str, Any]):
        self.site, self.told = site, told
        self.id = told["id"]
        self.folder: Path = site.root / "uspaces" / self.id
        self._abort = threading.Event()
        self._start = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def new(cls, site: Any, description: dict[str, Any], owner: str) -> Job:
        job = cls(site, {
            "id": str(uuid.uuid4()), "description": description, "owner": owner,
            "status": "READY", "message": "", "exit": None, "pid": None, "log": [],
            "submitted": time.time(), "tags": list(description.get("Tags", [])),
        })
        job.folder.mkdir(parents=True)
        job.save("READY")
        return job

    @property
    def status(self) -> str:
        return self.told["status"]

    def save(self, status: str, message: str | None = None) -> None:
        self.told["status"] = status
        if message is not None:
            self.told["message"] = message
        self.told["log"].append(f"{time.strftime('%H:%M:%S')} {status} {message or ''}".strip())
        self._write()

    def _write(self) -> None:
        file = self.site.root / "jobs" / f"{self.id}.json"
        part = file.with_suffix(f".{uuid.uuid4().hex[:6]}.part")
        part.write_text(json.dumps(self.told))
        part.replace(file)

    # -- a job's life ----------------------------------------------------------------------------

    def live(self) -> None:
        """Run it to its end in a thread of its own, from whatever state it is in."""
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def _live(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
            if self.status == "READY":
                staged = str(self.told["description"].get("haveClientStageIn", "")).lower()
                if staged == "true" and not self._wait(self._start):
                    return self._end("FAILED", "Job was aborted.")
                self.save("STAGINGIN")
                if problem := self._stage_in():
                    return self._end("FAILED", problem)
                self.save("QUEUED")
            if self.status in ("STAGINGIN", "QUEUED"):
                until = time.monotonic() + self.site.faults.queue_seconds
                while time.monotonic() < until and not self._abort.is_set():
                    if self.site.stopped.wait(0.02):
                        return None
                while not self.site.slots.acquire(timeout=0.02):
                    if self._abort.is_set() or self.site.stopped.is_set():
                        break
                else:
                    try:
                        if not self._abort.is_set():
                            self._run()
                            return self._watch()
                    finally:
                        self.site.slots.release()
                if self._abort.is_set():
                    self._end("FAILED", "Job was aborted.")
                return None
            if self.status == "RUNNING":
                self._watch()
        return None

    def _wait(self, event: threading.Event) -> bool:
        while not event.wait(0.02):
            if self._abort.is_set() or self.site.stopped.is_set():
                return False
        return True

    def _stage_in(self) -> str:
        """Do the imports; what went wrong, if anything."""
        for item in self.told["description"].get("Imports", []):
            source, target = item["From"], item["To"]
            if source.startswith("inline://"):
                text = item["Data"]
                text = "\n".join(text) if isinstance(text, list) else text
                files.write(self.folder, target, text.encode())
                continue
            found = re.fullmatch(r".*/storages/([^/]+)/files/(.+)", source)
            root = self.site.storage(found[1]) if found else None
            file = files.inside(root, found[2]) if found and root else None
            if file is None or not file.is_file():
                return f"Staging failed: import of {source} failed"
            target_file = files.inside(self.folder, target)
            target_file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target_file)
        return ""

    def _run(self) -> None:
        told = self.told["description"]
        line = " ".join([str(told.get("Executable", "")), *map(str, told.get("Arguments", []))])
        given = told.get("Environment", {})
        if isinstance(given, list):
            given = dict(pair.split("=", 1) for pair in given)
        env = {k: os.environ[k] for k in ("PATH", "HOME", "LANG", "TMPDIR") if k in os.environ}
        env |= {k: str(v) for k, v in given.items()} | {"UNICORE_JOB": self.id}
        before, after = told.get("User precommand", ""), told.get("User postcommand", "")
        script = f"{before}\n{line}\ncode=$?\n{after}\necho $code > {EXIT_CODE}\nexit $code\n"
        out = (self.folder / told.get("Stdout", "stdout")).open("wb")
        err = (self.folder / told.get("Stderr", "stderr")).open("wb")
        with out, err:
            process = subprocess.Popen(["bash", "-c", script], cwd=self.folder, env=env, stdout=out,
                                       stderr=err, stdin=subprocess.DEVNULL, start_new_session=True)
        _children[process.pid] = process
        self.told["pid"], self.told["begun"] = process.pid, time.time()
        self.site.started += 1
        self.save("RUNNING")

    def _watch(self) -> Any:
        limit = self._limit()
        while _alive(self.told["pid"]):
            if self.site.stopped.is_set():
                return None  # the process goes on; the next server watches it
            if self._abort.is_set():
                self._kill()
                return self._end("FAILED", "Job was aborted.")
            if limit is not None and time.time() - self.told["begun"] > limit:
                self._kill()
                return self._end("FAILED", "Job exceeded its time limit.")
            time.sleep(0.02)
        faults = self.site.faults
        code = None
        with contextlib.suppress(OSError, ValueError):
            code = int((self.folder / EXIT_CODE).read_text())
        if faults.drop_exit_code and faults.use("drop_exit_code"):
            code = None
        shards = sorted(self.folder.glob("shards/*.safetensors"))
        if shards and faults.drop_shards and faults.use("drop_shards"):
            shards[-1].unlink()
        self.told["exit"] = code
        if code and not self.told["description"].get("IgnoreNonZeroExitCode"):
            return self._end("FAILED", "User application exited with non-zero exit code")
        return self._end("SUCCESSFUL", "")

    def _limit(self) -> float | None:
        faults = self.site.faults
        if faults.walltime is not None and faults.use("walltime_jobs"):
            return faults.walltime
        return seconds(self.told["description"].get("Resources", {}).get("Runtime"))

    def _kill(self) -> None:
        """As a batch system does: all of the job's processes, politely and then not."""
        pid = self.told["pid"]
        _signal(pid, signal.SIGTERM)
        end = time.monotonic() + KILL_WAIT
        while _alive(pid) and time.monotonic() < end:
            time.sleep(0.02)
        _signal(pid, signal.SIGKILL)
        for other in self._strays():  # what a cgroup would hold: workers with sessions of their own
            with contextlib.suppress(OSError):
                os.kill(other, signal.SIGKILL)
        _alive(pid)

    def _strays(self) -> list[int]:
        mark = f"UNICORE_JOB={self.id}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
        return found

    def _end(self, status: str, message: str) -> None:
        self.save(status, message)

    # -- what clients ask of it ------------------------------------------------------------------

    def start(self) -> None:
        self._start.set()

    def abort(self) -> None:
        if self.status not in ENDED:
            self._abort.set()

    def delete(self) -> None:
        self.abort()
        if self._thread is not None:
            self._thread.join(5)
        (self.site.root / "jobs" / f"{self.id}.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def properties(self, base: str) -> dict[str, Any]:
        me = f"{base}/jobs/{self.id}"
        told = {
            "status": self.status, "statusMessage": self.told["message"],
            "submissionTime": time.strftime("%Y-%m-%dT%H:%M:%S+0000",
                                            time.gmtime(self.told["submitted"])),
            "log": self.told["log"], "queue": self._queue(), "jobType": "BATCH",
            "batchSystemID": str(self.told["pid"] or "N/A"), "consumedTime": {},
            "name": self.told["description"].get("Name", "UNICORE_Job"), "acl": [],
            "tags": self.told["tags"], "owner": f"UID={self.told['owner']}",
            "terminationTime": "2099-01-01T00:00:00+0000", "resourceStatus": "READY",
            "_links": {
                "self": {"href": me}, "details": {"href": f"{me}/details"},
                "submitted": {"href": f"{me}/submitted"},
                "action:start": {"href": f"{me}/actions/start"},
                "action:abort": {"href": f"{me}/actions/abort"},
                "action:restart": {"href": f"{me}/actions/restart"},
                "workingDirectory": {"href": f"{base}/storages/{self.id}-uspace"},
                "parentTSS": {"href": f"{base}/sites/default"},
            },
        }
        if self.told["exit"] is not None:
            told["exitCode"] = str(self.told["exit"])
        with contextlib.suppress(OSError):
            if not self.site.faults.no_progress:
                told["progress"] = (self.folder / PROGRESS).read_text().strip()
        return told

    def _queue(self) -> str:
        return self.told["description"].get("Resources", {}).get("Queue", "batch")


def seconds(text: Any) -> float | None:
    """UNICORE's times: "90", "30min", "2h"."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*([\d.]+)\s*(s|sec|m|min|h|d)?\s*", str(text))
    if not found:
        raise ValueError(f"not a time: {text!r}")
    units = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
    return float(found[1]) * units[found[2] or "s"]


def _alive(pid: int) -> bool:
    child = _children.get(pid)
    if child is not None:
        return child.poll() is None
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(pid, number)
