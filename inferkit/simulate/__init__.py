"""The simulate stage: parameters go in by round and index, stored rows with an outcome come out.

    driver (which rows are missing) -> an executor -> chunk (`run_chunk`) -> outputs -> the store

`local` is the executor of this machine, which HPC nodes use as well: `worker` is one of its
processes, `node` what runs where nobody listens, `journal` what convicts a deadly row.
"""

from inferkit.simulate.chunk import run_chunk, simulator_of
from inferkit.simulate.driver import Driver, PriorDraws, check_names, run
from inferkit.simulate.journal import Journal
from inferkit.simulate.outputs import checked_output
