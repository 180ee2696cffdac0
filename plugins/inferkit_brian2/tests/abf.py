"""A writer of Axon Binary Format, versions 1 and 2: as much of it as current-clamp sweeps need.

A file is of blocks of 512 bytes.  Version 2 begins with a table of sections, version 1 with one long
header; both hold 16-bit samples, channel beside channel, one sweep after another.
"""

import struct
from dataclasses import dataclass, field

import numpy as np

BLOCK = 512
RANGE, RESOLUTION = 10.0, 32768  # volts at the digitiser, and its steps
STEP, RAMP = 1, 2
SECTIONS = (
    "protocol", "adc", "dac", "epoch", "adc_dac", "epochs", "users", "stats_region", "math", "strings",
    "data", "tags", "scope", "delta", "voice", "synch", "annotation", "stats",
)  # fmt: skip


@dataclass
class Channel:
    """A recorded input: rows (sweeps, T) in its unit; volts: at the digitiser for one unit."""

    name: str
    unit: str
    rows: np.ndarray
    volts: float = 0.05


@dataclass
class Output:
    """A command: epochs (kind, level, level's increment a sweep, samples)."""

    name: str
    unit: str
    holding: float = 0.0
    epochs: list = field(default_factory=list)
    enabled: bool = True
    source: int = 1


def filled(size, *fields):
    """Bytes with (offset, format, value…) in them."""
    out = bytearray(size)
    for offset, form, *values in fields:
        struct.pack_into(f"<{form}", out, offset, *values)
    return bytes(out)


def whole(data):
    return data + bytes(-len(data) % BLOCK)


def samples(channels):
    """(sweeps, T, channels) as the digitiser had them."""
    x = np.stack([c.rows * c.volts for c in channels], -1)
    return np.round(x / RANGE * RESOLUTION).astype("<i2")


def synch(x):
    length = x.shape[1] * x.shape[2]
    return np.array([[k * length, length] for k in range(len(x))], "<i4").tobytes()


def write2(file, channels, outputs, interval_us):
    x = samples(channels)
    sweeps, length, _ = x.shape
    words = ["clampex"]

    def index(word):
        words.append(word)
        return len(words)

    parts = {}
    parts["protocol"] = (512, 1, filled(
        512, (0, "h", 5), (2, "f", interval_us), (22, "i", length * len(channels)), (30, "i", sweeps),
        (110, "f", RANGE), (114, "f", RANGE), (118, "i", RESOLUTION), (122, "i", RESOLUTION),
    ))  # fmt: skip
    parts["adc"] = (128, len(channels), b"".join(
        filled(128, (0, "h", k), (28, "f", 1.0), (40, "f", c.volts), (48, "f", 1.0),
               (74, "i", index(c.name)), (78, "i", index(c.unit)))
        for k, c in enumerate(channels)
    ))  # fmt: skip
    parts["dac"] = (256, len(outputs), b"".join(
        filled(256, (0, "h", k), (8, "f", 1.0), (12, "f", o.holding), (24, "i", index(o.name)),
               (28, "i", index(o.unit)), (40, "h", o.enabled), (42, "h", o.source))
        for k, o in enumerate(outputs)
    ))  # fmt: skip
    epochs = [
        filled(48, (0, "h", n), (2, "h", k), (4, "h", kind), (6, "f", level), (10, "f", more),
               (14, "i", count))
        for k, o in enumerate(outputs) for n, (kind, level, more, count) in enumerate(o.epochs)
    ]  # fmt: skip
    parts["epochs"] = (48, len(epochs), b"".join(epochs))
    text = b"\0\0" + b"\0".join(w.encode("latin-1") for w in words) + b"\0"
    parts["strings"] = (len(text), len(words), text)
    parts["synch"] = (8, sweeps, synch(x))
    parts["data"] = (2, x.size, x.tobytes())

    table, body = b"", b""
    for name in SECTIONS:
        size, count, data = parts.get(name, (0, 0, b""))
        at = 1 + len(body) // BLOCK if count else 0
        table += struct.pack("<IIq", at, size, count)
        body += whole(data)
    head = filled(
        76, (0, "4s", b"ABF2"), (4, "4b", 0, 0, 0, 2), (8, "I", 512), (12, "I", sweeps), (72, "I", 1)
    )
    file.write_bytes(whole(head + table) + body)


def write1(file, channels, interval_us):
    """As of Clampex 9; no stimulus but what was recorded."""
    x = samples(channels)
    head, count = 6144, len(channels)
    text = [
        *((442 + 10 * k, "10s", c.name.encode().ljust(10)) for k, c in enumerate(channels)),
        *((602 + 8 * k, "8s", c.unit.encode().ljust(8)) for k, c in enumerate(channels)),
        *((922 + 4 * k, "f", c.volts) for k, c in enumerate(channels)),
    ]
    ones = [(at + 4 * k, "f", 1.0) for at in (730, 1050, 4576) for k in range(16)]
    sampled = [*range(count), *[-1] * (16 - count)]
    table = whole(synch(x))
    header = filled(
        head, (0, "4s", b"ABF "), (4, "f", 1.83), (8, "h", 5), (10, "i", x.size), (16, "i", len(x)),
        (40, "i", (head + len(table)) // BLOCK), (92, "i", head // BLOCK), (96, "i", len(x)),
        (120, "h", count), (122, "f", interval_us / count), (138, "i", x.shape[1] * count),
        (244, "f", RANGE), (252, "i", RESOLUTION), (410, "16h", *sampled), *text, *ones,
    )  # fmt: skip
    file.write_bytes(header + table + x.tobytes())
