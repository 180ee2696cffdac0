"""`python -m inferkit.simulate.worker`: a process that runs chunks for whoever started it.

It is started afresh (never forked, so torch and JAX are safe; and the user's script is not run
again, so no `if __name__ == "__main__"` is needed), told the job, and then given chunks one by
one over its standard input.  What simulators print goes to standard error.  When its parent dies
it finishes the simulation it is in, writes what it has, and leaves.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO

ORPHAN_SECONDS = 60.0
"""How long an orphan may go on with the simulation it is in."""


def send(stream: BinaryIO, message: Any) -> None:
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(len(data).to_bytes(8, "little") + data)
    stream.flush()


def receive(stream: BinaryIO) -> Any:
    """The next message; EOFError where the other side is gone."""
    length = _exactly(stream, 8)
    return pickle.loads(_exactly(stream, int.from_bytes(length, "little")))


def _exactly(stream: BinaryIO, n: int) -> bytes:
    data = stream.read(n)
    if len(data) < n:
        raise EOFError
    return data


def limit_memory(nbytes: int) -> None:
    """Allocations beyond this raise MemoryError, a row's status, instead of waking the OOM killer."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_DATA, (nbytes, nbytes))


def peak_memory() -> int:
    """The process's memory now, in bytes (0 where the system does not tell)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a simulator's print must not reach the protocol
    source = os.fdopen(os.dup(0), "rb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    inbox: queue.Queue = queue.Queue()
    threading.Thread(target=_read, args=(source, inbox, stop), daemon=True).start()

    from inferkit.data import Job, Receipt
    from inferkit.errors import InferkitError
    from inferkit.simulate.chunk import run_chunk, simulator_of
    from inferkit.simulate.journal import Journal

    settings = inbox.get()
    if settings is None:
        return
    sys.path[:0] = [p for p in settings["sys_path"] if p not in sys.path]
    if settings["memory"]:
        limit_memory(settings["memory"])
    job = Job.from_json(settings["job"])
    try:
        simulator_of(job)
        send(output, "ready")
    except InferkitError as cause:
        send(output, Receipt("", error=cause))
        return
    while (message := inbox.get()) is not None:
        chunk, journal = message
        receipt = run_chunk(job, chunk, journal=Journal(Path(journal)), stop=stop.is_set)
        receipt.rss = peak_memory()
        send(output, receipt)


def _read(source: BinaryIO, inbox: queue.Queue, stop: threading.Event) -> None:
    try:
        while True:
            inbox.put(receive(source))
    except (EOFError, OSError):
        inbox.put(None)
        stop.set()
        threading.Event().wait(ORPHAN_SECONDS)
        os._exit(1)


if __name__ == "__main__":
    main()
