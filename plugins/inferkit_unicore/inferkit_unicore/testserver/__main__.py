"""`python -m inferkit_unicore.testserver FOLDER [SECONDS]`: a site to try things on."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from inferkit_unicore.testserver import Site


def main() -> int:
    if len(sys.argv) not in (2, 3):
        print("usage: python -m inferkit_unicore.testserver FOLDER [SECONDS]", file=sys.stderr)
        return 2
    seconds = float(sys.argv[2]) if len(sys.argv) == 3 else 3600.0
    with Site(Path(sys.argv[1])) as site:
        print(f"url = {site.https!r}\nca = {site.ca!r}\nuser demouser, password test123",
              flush=True)
        try:
            time.sleep(seconds)
        except KeyboardInterrupt:
            print("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
