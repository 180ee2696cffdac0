"""The store: rows go in once and stay as they are; tables come out, larger than memory if need be.

    rows  ->  shard (one immutable file)  ->  store (a folder of them)  ->  table (`Simulations`)
"""

from inferkit.store.compact import compact
from inferkit.store.files import (
    UNREADABLE,
    if_possible,
    make_folder,
    temporary_folder,
    write_atomic,
    writing_to,
)
from inferkit.store.shard import OK, STATUS, Rows, SentShard, Shard, encode
from inferkit.store.store import Store
from inferkit.store.table import Simulations
