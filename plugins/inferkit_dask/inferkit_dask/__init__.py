"""inferkit on Dask.

    executor.py   the executor: chunks in, receipts out; slots, losses, reconnection, cancelling
    clusters.py   where the scheduler comes from: own local cluster, an address, a batch queue
    loopback.py   the own local cluster's worker processes
    host.py       what runs inside a Dask worker: it feeds chunks to worker processes of its own
    versions.py   whether the workers run the same code
    parcel.py     code that is sent along
"""

__version__ = "0.1.0"
