"""A UNICORE site for tests: real HTTP and TLS on loopback, jobs as real processes.

    from inferkit_unicore.testserver import Site

    with Site(folder) as site:
        …  site.https, site.ca, user "demouser", password "test123"

It follows the REST protocol of UNICORE 10 as far as clients such as pyunicore use it (port
forwarding and workflows are not there), and misbehaves on request: see `faults`.
`python -m inferkit_unicore.testserver FOLDER` runs one for trying things out.
"""

from inferkit_unicore.testserver.faults import Faults
from inferkit_unicore.testserver.jobs import Job
from inferkit_unicore.testserver.site import Site

__all__ = ["Faults", "Job", "Site"]
