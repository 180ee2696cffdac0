"""Find the jobs of a study at a site: by the run's journal, and by their tags where it is lost."""

from __future__ import annotations

import json

import numpy as np

from inferkit.simulate.node import FORMAT, JSON, from_ranges
from inferkit.store import Store
from inferkit_unicore.campaign import CHUNK, Campaign, Entry
from inferkit_unicore.config import UnicoreConfig
from inferkit_unicore.remote import Remote
from inferkit_unicore.site import Corrupt, Gone, Site


def attach(site: Site, store: Store, campaign: Campaign, config: UnicoreConfig) -> list[Remote]:
    """Jobs whose rows are not all stored yet, whoever submitted them."""
    known = {c: e for c, e in campaign.read().items() if e.site == site.url}
    by_url = {e.url: e for e in known.values() if e.url}
    found: list[Remote] = []
    seen: set[str] = set()
    for url in site.jobs(campaign.tag):
        entry = by_url.get(url)
        if entry is not None:
            seen.add(entry.chunk)
            if entry.state in ("done", "void"):
                continue
        remote = _remote(site, store, campaign, config, url, entry, known)
        if remote is None or remote.chunk in {r.chunk for r in found}:
            continue
        seen.add(remote.chunk)
        if not _useful(remote, store):
            continue
        found.append(remote)
    for entry in known.values():  # posted, as far as we know, but not in the list
        if entry.chunk not in seen and entry.state not in ("done", "void"):
            campaign.write("void", entry.chunk)
    return found


def _remote(site: Site, store: Store, campaign: Campaign, config: UnicoreConfig, url: str,
            entry: Entry | None, known: dict[str, Entry]) -> Remote | None:
    try:
        told = site.job(url)
        chunk = next((t.removeprefix(CHUNK) for t in told.get("tags", []) if t.startswith(CHUNK)),
                     "")
        if entry is None:
            if campaign.tag not in told.get("tags", []) or not chunk:
                return None  # a server that does not filter
            entry = known.get(chunk)
        if entry is not None:
            if told.get("status") == "READY":
                # Ours, and we died before it was started; the run's lock says nobody else is at it.
                site.delete(url)
                return None
            campaign.write("job", entry.chunk, url=url)
        else:
            folder = told["_links"]["workingDirectory"]["href"]
            entry = _foreign(site, folder, store.key, url, told.get("status") == "READY")
            campaign.intend(chunk, entry.round, entry.index, site.url)
            campaign.write("job", chunk, url=url)
    except (Gone, Corrupt, ValueError, KeyError):
        return None
    return Remote(site, store, config, entry.chunk, entry.round, entry.index, url, attached=True)


def _foreign(site: Site, folder: str, key: str, url: str, fresh: bool) -> Entry:
    """What a job of another process does, read from what was staged for it.

    A `fresh` job's files may be on their way just now.
    """
    for pause in (0.2, 0.5, 1.0, 2.0, 4.0) if fresh else ():
        try:
            told = json.loads(site.fetch(folder, JSON))
            break
        except (Gone, ValueError):
            site.pause(pause)
    else:
        told = json.loads(site.fetch(folder, JSON))
    if told["format"] != FORMAT or told["job"]["key"] != key:
        raise ValueError("a job of another study")
    return Entry(told["chunk"], told["round"], from_ranges(told["rows"]), url, "job", site.url)


def _useful(remote: Remote, store: Store) -> bool:
    return bool(len(np.setdiff1d(remote.index, store.present(remote.round))))
