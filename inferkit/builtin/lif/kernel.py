"""The neuron and its noise, compiled by numba: 64 rows side by side, step by step.

The same operations in the same order as `simulator`'s, on the functions of `noise`, so the bytes are
the same with and without numba; it is only faster, by what numpy writes to memory between steps.
The loops over lanes are functions of their own, on plain vectors: so they become SIMD instructions.
"""

from __future__ import annotations

import numba
import numpy as np
from numba.extending import intrinsic, overload, register_jitable

from inferkit.builtin.lif import noise

LANES = 64
# One vector holds a block's state and constants, LANES of each: what lies in one piece is known not
# to overlap, so the loops below need no check of it.
KEEP, DRIVE, THRESHOLD, RESET, KICK = (LANES * k for k in range(1, 6))
_compiled = numba.njit(cache=True, error_model="numpy")
_inlined = numba.njit(cache=True, error_model="numpy", forceinline=True)


@overload(noise.pick)
def _pick(condition, yes, no):
    return lambda condition, yes, no: yes if condition else no


@intrinsic
def _square_root(typing, x):
    """The processor's own: numba's calls the C library, and a loop with a call stays scalar."""

    def emit(context, builder, signature, values):
        kind = context.get_value_type(x)
        return builder.call(builder.module.declare_intrinsic("llvm.sqrt", [kind]), values)

    return x(x), emit


@overload(noise.root)
def _root(x):
    return lambda x: _square_root(x)  # type: ignore[call-arg]


for _function in (noise.number, noise.rotated, noise.step, noise.log, noise.turn, noise.two):
    register_jitable(forceinline=True)(_function)
_step, _two = noise.step, noise.two


@_inlined
def _add_noise(words, scale, first, second):
    """Adds every lane's next two normals, scaled, to two rows; words: the generators' four words."""
    for i in range(LANES):
        a, b, c, d = words[i], words[LANES + i], words[2 * LANES + i], words[3 * LANES + i]
        word, a, b, c, d = _step(a, b, c, d)
        angle, a, b, c, d = _step(a, b, c, d)
        x, y = _two(word, angle)
        words[i], words[LANES + i], words[2 * LANES + i], words[3 * LANES + i] = a, b, c, d
        first[i] = x * scale + first[i]
        second[i] = y * scale + second[i]


@_inlined
def _advance(cell, spiked, seen):
    """One step of Euler's rule without a refractory time."""
    for i in range(LANES):
        x = cell[i] * cell[KEEP + i] + cell[DRIVE + i]
        fired = x >= cell[THRESHOLD + i]
        x = cell[RESET + i] if fired else x
        cell[i] = x
        spiked[i] = fired
        seen[i] = x


@_inlined
def _advance_held(cell, spiked, seen, silent, k, held):
    """One step with a kick (mV), and the potential held at its reset while k < silent."""
    for i in range(LANES):
        x = cell[i] * cell[KEEP + i] + cell[DRIVE + i] + cell[KICK + i]
        x = cell[RESET + i] if silent[i] > k else x
        fired = (x >= cell[THRESHOLD + i]) & (silent[i] <= k)
        silent[i] = k + 1 + held if fired else silent[i]
        x = cell[RESET + i] if fired else x
        cell[i] = x
        spiked[i] = fired
        seen[i] = x


@_compiled
def _collect(spiked, rows, total, steps, counts):
    """Appends the spikes' steps, lane after lane, and counts them; eight silent lanes pass at once."""
    T = len(spiked)
    own = np.empty((LANES, T), np.int32)
    found = np.zeros(LANES, np.int64)
    eights = spiked.view(np.uint64)
    for k in range(T):
        for group in range(LANES // 8):
            if eights[k, group]:
                for i in range(8 * group, 8 * group + 8):
                    own[i, found[i]] = k
                    found[i] += spiked[k, i]
    for i in range(rows):
        steps[total : total + found[i]] = own[i, : found[i]]
        counts[i] = found[i]
        total += found[i]
    return total


@_compiled
def _transpose(seen, trace):
    """trace[i, k] = seen[k, i], a few steps at a time: so both stay in the nearest cache."""
    rows, T = trace.shape
    whole = T - T % 16
    for start in range(0, whole, 16):
        for i in range(rows):
            to, of = trace[i, start : start + 16], seen[start : start + 16]
            for k in range(16):
                to[k] = of[k, i]
    for i in range(rows):
        for k in range(whole, T):
            trace[i, k] = seen[k, i]


def block(config, current, neuron, seeds, trace, counts):
    """As `simulator._numpy_block`: fills trace and counts, and returns the spikes' steps."""
    none = np.empty((4, 0), np.uint32)
    seen = len(trace) > 0 and config.noise_sd > 0
    steps = np.empty(len(seeds) * config.steps, np.int64)  # the memory that is not used costs nothing
    total = _run(
        current, neuron, round(config.refractory / config.dt), config.kick,
        np.float32(config.noise_sd), config.spike_peak is not None,
        np.float32(config.spike_peak or 0), noise.start(seeds, noise.OBSERVED) if seen else none,
        noise.start(seeds, noise.PROCESS) if config.process_noise > 0 else none, trace, steps, counts)
    return steps[:total].copy()


@_compiled
def _run(current, neuron, held, kick, sd, peaked, peak, observed, process, trace, steps, counts):
    """Fills trace (n, T) and, row after row, the steps of the spikes; returns how many spikes.

    neuron: keep, gain, pull, rest, threshold, reset: rows of (6, n).
    held: steps of the refractory time.  peak: what is recorded at a spike, if peaked.
    kick, sd: what the normals of the process and of the observation are multiplied by.
    observed, process: states (4, n) of the rows' generators, (4, 0) where there is no such noise.
    trace: (n, T) float32, or (0, T) where only spikes are asked for.
    """
    n, T = neuron.shape[1], len(current)
    noisy, kicked, kept = observed.shape[1] > 0, process.shape[1] > 0, len(trace) > 0
    seen = np.empty((T + 1, LANES), np.float32)
    spiked = np.zeros((T, LANES), np.uint8)
    cell = np.zeros(6 * LANES)
    gain, pull = np.zeros(LANES), np.zeros(LANES)
    eyes, hands = np.zeros(4 * LANES, np.uint32), np.zeros(4 * LANES, np.uint32)
    kicks = np.zeros((2, LANES), np.float32)
    silent = np.zeros(LANES, np.int64)
    total = 0
    for first in range(0, n, LANES):
        m = min(LANES, n - first)
        block = neuron[:, first : first + m]
        cell[:m], cell[KEEP : KEEP + m] = block[3], block[0]
        cell[THRESHOLD : THRESHOLD + m], cell[RESET : RESET + m] = block[4], block[5]
        gain[:m], pull[:m] = block[1], block[2]
        for w in range(4):
            if noisy:
                eyes[w * LANES : w * LANES + m] = observed[w, first : first + m]
            if kicked:
                hands[w * LANES : w * LANES + m] = process[w, first : first + m]
        seen[0] = cell[:LANES]
        silent[:] = 0
        for k in range(T - 1):
            if k == 0 or current[k] != current[k - 1]:
                cell[DRIVE : DRIVE + LANES] = gain * current[k] + pull
            if kicked:
                if k % 2 == 0:
                    kicks[:] = 0
                    _add_noise(hands, np.float32(1), kicks[0], kicks[1])
                cell[KICK : KICK + LANES] = kicks[k % 2] * kick
            if held or kicked:
                _advance_held(cell, spiked[k + 1], seen[k + 1], silent, k, held)
            else:
                _advance(cell, spiked[k + 1], seen[k + 1])
        total = _collect(spiked, m, total, steps, counts[first : first + m])
        if kept:
            if peaked:
                for k in range(T):
                    for i in range(LANES):
                        seen[k, i] = peak if spiked[k, i] else seen[k, i]
            if noisy:
                for k in range(0, T, 2):
                    _add_noise(eyes, sd, seen[k], seen[k + 1])
            _transpose(seen, trace[first : first + m])
    return total
