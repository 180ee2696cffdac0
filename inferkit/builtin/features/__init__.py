"""Built-in features: named numbers from raw outputs, vectorised over the batch.

    traces.py            stats, autocorrelation         mean, sd, …, r(lag)
    spectral.py          psd                            band powers by Welch
    spiking.py           spike_count, isi, spike_times  from spike times or a threshold
    connectivity.py      fc, fcd                        correlations between nodes
    electrophysiology.py efel                           the eFEL library (extra: efel)
    compose.py           Composite, FunctionFeature, compute_matrix

A feature that is undefined for a row (the ISI of a silent neuron) is NaN: never an exception,
never a warning.  A setting that can be defined for no row is a ConfigError.
"""
