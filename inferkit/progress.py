"""Progress for people: a live line on a terminal, a bar in a notebook, a plain line in a batch log."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from inferkit.shown import escape

PLAIN_EVERY = 30.0


def duration(seconds: float | None) -> str:
    """Seconds as people say them."""
    if seconds is None:
        return "?"
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} µs"
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {s:02d} s"


def size(nbytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:.3g} TB"


def rate(per_second: float) -> str:
    return f"{per_second:,.0f}/s" if per_second >= 10 else f"{per_second:.2g}/s"


def line(p: Progress) -> str:
    """One line that says where the simulations stand."""
    name = "simulations" if p.round == 0 else f"round {p.round}"
    stored = p.before + p.done
    if p.finished and not p.done:
        return f"{name}: all {p.total:,} are stored already"
    text = f"{name}: {stored:,} of {p.total:,}"
    if p.before:
        text += f" ({p.before:,} from before)"
    text += f", {rate(p.rate)}"
    if p.failed:
        kinds = ", ".join(f"{v:,} {k}" for k, v in p.counts.items() if k != "ok")
        text += f", failed: {kinds}"
    if p.finished:
        return text + f", in {duration(p.seconds)}"
    return text + (f", {duration(p.eta)} left" if p.seconds > 3 else "")


@dataclass
class Progress:
    """Where a run of simulations stands; handed to whoever shows it."""

    round: int
    total: int
    before: int  # rows that were stored already
    done: int = 0
    counts: Counter = field(default_factory=Counter)
    messages: Counter = field(default_factory=Counter)
    notes: set[str] = field(default_factory=set)  # how the simulator ran, where it says so
    sim_seconds: float = 0.0
    started: float = field(default_factory=time.monotonic)
    finished: bool = False

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        return self.done / max(self.seconds, 1e-9)

    @property
    def failed(self) -> int:
        return sum(v for k, v in self.counts.items() if k != "ok")

    @property
    def eta(self) -> float | None:
        left = self.total - self.before - self.done
        return left / self.rate if self.done else None


class Reporter:
    """Shows `Progress` and an estimator's events; quiet shows nothing.

    A terminal gets a live line, a notebook a live display, a batch log a plain line now and then.
    """

    def __init__(self, quiet: bool = False, stream: Any = None):
        self.quiet, self.stream = quiet, stream or sys.stderr
        self.display: Any = notebook() if stream is None and not quiet else None
        self.live = not quiet and hasattr(self.stream, "isatty") and self.stream.isatty()
        self._last = 0.0 if self.live or self.display else time.monotonic()
        self._width = 0
        self._shown: Any = None  # the notebook's display that is being updated

    def __call__(self, p: Progress) -> None:
        if p.round and p.finished and not p.done:
            return  # a later round that was stored already is no news
        self._write(line(p), done=p.finished, share=(p.before + p.done) / max(p.total, 1))

    def event(self, what: str, values: dict) -> None:
        """An estimator's progress: "epoch" {"loss": …}."""
        told = ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}"
                         for k, v in values.items())
        self._write(f"{what}: {told}" if told else what, done=what.endswith("."))

    def say(self, text: str) -> None:
        self._write(text, done=True)

    def _write(self, text: str, done: bool, share: float | None = None) -> None:
        if self.quiet:
            return
        now = time.monotonic()
        if (self.live or self.display) and not done and now - self._last < 0.1:
            return
        if self.display:
            self._update(text, done, share)
        elif self.live:
            if not done:  # a line that wraps could not be written over
                room = shutil.get_terminal_size().columns - 1
                text = ((bar(share) if share is not None else "") + text)[:room]
            self.stream.write("\r" + text.ljust(self._width) + ("\n" if done else ""))
            self._width = 0 if done else max(self._width, len(text))
        elif done or now - self._last >= PLAIN_EVERY:
            self.stream.write(text + "\n")
        else:
            return
        self._last = now
        self.stream.flush()

    def _update(self, text: str, done: bool, share: float | None) -> None:
        """One display for each thing that is going on, updated until it is done."""
        drawn = "" if share is None else f'<progress value="{share:.3f}" max="1"></progress> '
        shown = _Html(f"<div>{drawn}{escape(text)}</div>", text)
        if self._shown is None:
            self._shown = self.display(shown, display_id=True)
        else:
            self._shown.update(shown)
        if done:
            self._shown = None


class _Html:
    """What a notebook displays: a page's HTML, or a text where there is none."""

    def __init__(self, html: str, text: str):
        self.html, self.text = html, text

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def bar(share: float) -> str:
    """[#####---------------] """
    full = round(20 * min(share, 1.0))
    return f"[{'#' * full}{'-' * (20 - full)}] "


def notebook() -> Any:
    """IPython's `display` where a kernel shows what is displayed (Jupyter, VS Code, Colab), or None."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if getattr(shell, "kernel", None) is None:
        return None
    from IPython.display import display

    return display
