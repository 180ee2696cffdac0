"""Some simulations to be run, and how that ended: plain data, so that it can be sent or staged."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

import numpy as np

from inferkit.errors import InferkitError


@dataclass(frozen=True)
class Job:
    """What all chunks of a run share.  It holds plain data only, so that it can be sent or staged."""

    simulator: dict
    seed: int
    key: str
    timeout: float | None = None
    store: str | None = None  # where shards go; None: back to the sender, in the receipt

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        return cls(**json.loads(text))


@dataclass
class Chunk:
    """Some rows of one round."""

    id: str
    round: int
    index: np.ndarray
    theta: dict[str, np.ndarray]
    attempt: int = 0

    def __len__(self) -> int:
        return len(self.index)


@dataclass
class Receipt:
    """How a chunk ended.  `counts` is by status; `shards` were written or are in `payload`."""

    chunk: str
    rows: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    shards: list[str] = field(default_factory=list)
    payload: list[tuple[str, bytes]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    seconds: float = 0.0  # spent in the simulator
    nbytes: int = 0
    rss: int = 0
    note: str = ""  # how the simulator ran (its engine, say)
    stopped: bool = False  # asked to stop before the end
    partial: bool = False  # the chunk runs on; more will follow
    lost: str = ""  # the process running it died for good, and how
    error: InferkitError | None = None  # the work cannot go on (disk full, simulator not buildable)
