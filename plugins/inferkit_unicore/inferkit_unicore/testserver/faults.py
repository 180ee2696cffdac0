"""What a test makes go wrong, and when.

`faults.add("status", method="POST", path=r"/jobs$", code=503)` spoils the next matching request;
`times` and `skip` say how many and after how many.  The other attributes of `Faults` change how
the site behaves until `clear()`.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import Any

ACTIONS = {
    "status": "answer with `code` and `message`; with after=True only once the request was done",
    "expire_sessions": "forget all security sessions before this request (it gets a 432)",
    "reset": "send `fraction` of the body, then reset the connection",
    "close": "close the connection before any answer; with after=True the request was done",
    "truncate": "answer with the first `fraction` of the body as if it were all",
    "replace": "answer 200 with `body` in place of the content",
    "delay": "wait `seconds` first",
}


@dataclass
class Fault:
    action: str
    method: str = ""
    path: str = ""
    times: int = 1
    skip: int = 0
    options: dict[str, Any] = field(default_factory=dict)

    def matches(self, method: str, path: str) -> bool:
        return (not self.method or self.method == method) and bool(re.search(self.path, path))


class Faults:
    """The faults in force."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        self._list: list[Fault] = []
        self.struck: list[str] = []  # what was done, in order
        self.queue_seconds = 0.0  # a job stays QUEUED so long
        self.initializing = 0  # so many looks at a storage say INITIALIZING
        self.walltime: float | None = None  # jobs are killed after so many seconds, and FAILED
        self.walltime_jobs = 10**9  # … only this many of them
        self.drop_exit_code = 0  # so many jobs end without an exit code
        self.drop_shards = 0  # so many jobs end SUCCESSFUL with one shard gone
        self.submission_enabled = True
        self.submission_message = ""
        self.ignore_tags_filter = False  # listings give all jobs, whatever tags were asked for
        self.no_progress = False  # an old server that does not show a job's progress

    def add(self, action: str, method: str = "", path: str = "", times: int = 1, skip: int = 0,
            **options: Any) -> Fault:
        if action not in ACTIONS:
            raise ValueError(f"{action!r}: known are {', '.join(ACTIONS)}")
        fault = Fault(action, method, path, times, skip, options)
        with self._lock:
            self._list.append(fault)
        return fault

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that strikes this request, if any."""
        with self._lock:
            for fault in self._list:
                if fault.times > 0 and fault.matches(method, path):
                    if fault.skip > 0:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    self.struck.append(f"{fault.action} {method} {path}")
                    return fault
        return None

    def use(self, counter: str) -> bool:
        """Spend one of a counted behaviour."""
        with self._lock:
            left = getattr(self, counter)
            if left <= 0:
                return False
            setattr(self, counter, left - 1)
            self.struck.append(counter)
            return True
