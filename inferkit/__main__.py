"""`python -m inferkit`: the command line."""

import sys

from inferkit.commands.cli import main

sys.exit(main())
