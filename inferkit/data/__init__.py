"""What crosses the borders between stages, as plain data: no stage is imported here.

    Parameter, Output     what a simulator declares of what it takes and gives
    Ragged                rows of different lengths, end to end
    Job, Chunk, Receipt   some simulations to be run, and how that ended
    Dataset               observed trials, with names, dimensions and masks
    Trials                an observation that is several trials of one parameter set
    Draws                 posterior draws that are arrays with dimensions and coordinates
"""

from inferkit.data.dataset import Dataset
from inferkit.data.declared import Arrays, Output, Parameter, Ragged
from inferkit.data.draws import Draws
from inferkit.data.jobs import Chunk, Job, Receipt
from inferkit.data.trials import Trials, trial_range
