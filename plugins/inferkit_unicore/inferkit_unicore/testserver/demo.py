"""A site for `inferkit demo unicore`: plain HTTP on loopback, known as "demo" while it runs."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from inferkit_unicore.testserver import Site


@contextlib.contextmanager
def site(path: Path) -> Iterator[Site]:
    """A running site, and in `path` the profile that the demo's study file finds it by.

    Its jobs' folders are temporary, so the study can be run again at a site of the same name.
    """
    profiles = path / "unicore_sites.toml"
    settings = {"UNICORE_SITES": str(profiles.resolve()), "UNICORE_PASSWORD": "test123"}
    before = {name: os.environ.get(name) for name in (*settings, "NO_PROXY")}
    with tempfile.TemporaryDirectory() as folder, Site(Path(folder), secure=False) as running:
        profiles.write_text(
            "[demo]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in {
                "url": running.http, "username": "demouser", "python": sys.executable}.items()))
        os.environ.update(settings, NO_PROXY="127.0.0.1,localhost")
        try:
            yield running
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
