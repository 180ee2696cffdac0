"""`python -m inferkit_unicore status | cancel | clean RUN`."""

import sys

from inferkit_unicore.commands import main

sys.exit(main())
