"""A section of the report: where the posterior lies among Izhikevich's named cell types."""

from inferkit.report import Section, table, text

TYPES = {
    "regular spiking": (-65.0, 8.0), "intrinsically bursting": (-55.0, 4.0),
    "chattering": (-50.0, 2.0),
}


def firing_types(context):
    samples = context.samples
    if samples is None or not {"c", "d"} <= set(samples.names):
        return Section("Firing type", text("It needs an observation, and the parameters c and d."))
    c, d = samples["c"].ravel(), samples["d"].ravel()
    nearest = {name: 0 for name in TYPES}
    for ci, di in zip(c, d):
        # Distances in the scales on which the types differ: 15 mV in c, 6 in d.
        name = min(TYPES, key=lambda t: ((TYPES[t][0] - ci) / 15) ** 2 + ((TYPES[t][1] - di) / 6) ** 2)
        nearest[name] += 1
    rows = [(name, f"{count / len(c):.0%}") for name, count in nearest.items()]
    return Section("Firing type", text("The share of posterior draws nearest to each named type.")
                   + table(["type", "share of draws"], rows))
