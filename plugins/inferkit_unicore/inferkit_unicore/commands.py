"""`inferkit-unicore status | cancel | clean RUN`: look after a run's jobs, from its folder alone.

The functions take the run's folder and, where the site's settings of the last run do not do, a
`UnicoreConfig`.  They never simulate, and need no more than credentials.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from inferkit.errors import ConfigError, InferkitError
from inferkit_unicore.campaign import CHUNK, Campaign, Entry
from inferkit_unicore.config import UnicoreConfig, is_own

ENDED = ("SUCCESSFUL", "FAILED")


@dataclass(frozen=True)
class JobState:
    """One job of a run: `collected` once all that it did is stored."""

    chunk: str
    url: str
    status: str
    message: str
    progress: str | None
    rows: int | None
    collected: bool

    def __str__(self) -> str:
        share = f"{float(self.progress):5.0%}" if self.progress else "     "
        told = "collected" if self.collected else self.message
        many = f"{self.rows:,} rows" if self.rows is not None else ""
        return f"{self.status:11} {share} {many:>12}  {self.url}  {told}".rstrip()


def status(run: str | Path, config: UnicoreConfig | None = None, *, trust: bool = False
           ) -> list[JobState]:
    """The run's jobs at its site, the newest first.

    A folder that somebody sent you may name a site of theirs, and a command that makes a token: it is
    taken at its word where your own profiles say the same, or with `trust`.
    """
    if config is None and not trust:
        kept = _Open(run, None).config
        if not is_own(kept):
            raise ConfigError(
                f"the folder names the site, {kept.site or kept.registry}, and how to sign in there; "
                "it is not asked, as no profile of yours says the same",
                allowed="a profile with these settings (docs/unicore.md), or your word for the folder",
                fix=f"inferkit status {run} --trust")
    with _Open(run, config) as opened:
        return opened.states()


def cancel(run: str | Path, config: UnicoreConfig | None = None) -> int:
    """Stop the run's jobs that have not ended; how many.  What they published can be collected."""
    stopped = 0
    with _Open(run, config) as opened:
        for state in opened.states():
            if state.status in ENDED:
                continue
            opened.campaign.write("cancelled", state.chunk)
            opened.site.abort(state.url)
            stopped += 1
    return stopped


def clean(run: str | Path, config: UnicoreConfig | None = None, *, force: bool = False) -> int:
    """Delete collected jobs with their folders at the site; how many.

    `force`: those not collected as well, running ones included, and what was sent along once for
    all jobs (`packages`, `stage`), which other studies at the site may share.
    """
    from inferkit_unicore.staging import payload, payload_name

    deleted = 0
    with _Open(run, config) as opened:
        for state in opened.states():
            if force or state.status in ENDED and state.collected:
                opened.site.delete(state.url)
                if not state.collected and state.chunk in opened.entries:
                    opened.campaign.write("void", state.chunk)
                deleted += 1
        if force and (opened.config.stage or opened.config.packages):
            storage = opened.site.storage(opened.config.storage)
            opened.site.remove(storage, payload_name(payload(opened.config)))
    return deleted


class _Open:
    """A run's campaign and a connection to its site."""

    def __init__(self, run: str | Path, config: UnicoreConfig | None):
        try:
            kept, key = Campaign.settings(Path(run))
        except (FileNotFoundError, NotADirectoryError):
            raise ConfigError(f"{run} has no jobs at a UNICORE site",
                              fix="give the folder of a run that used this executor") from None
        self.config = config.resolved() if config is not None else kept
        self.campaign = Campaign(Path(run), key)
        self.entries: dict[str, Entry] = self.campaign.read()

    def __enter__(self) -> _Open:
        from inferkit_unicore.site import Site

        self.site = Site(self.config)
        self.site.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.site.close()

    def states(self) -> list[JobState]:
        """The jobs that carry the study's tag (a server may list others as well)."""
        from inferkit_unicore.site import Gone

        found = []
        for url in self.site.jobs(self.campaign.tag):
            try:
                told = self.site.job(url)
            except Gone:
                continue
            if self.campaign.tag not in told.get("tags", []):
                continue
            chunk = next((t.removeprefix(CHUNK) for t in told["tags"] if t.startswith(CHUNK)), "")
            entry = self.entries.get(chunk)
            found.append(JobState(
                chunk, url, told.get("status", "UNDEFINED"), told.get("statusMessage", ""),
                told.get("progress"), len(entry.index) if entry else None,
                entry is not None and entry.state == "done"))
        return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="inferkit-unicore", description=__doc__)
    parser.add_argument("action", choices=["status", "cancel", "clean"])
    parser.add_argument("run", metavar="RUN", help="the run's folder")
    parser.add_argument("--force", action="store_true", help="clean: also what is not collected")
    parser.add_argument("--trust", action="store_true",
                        help="status: sign in as the folder says, at the site that it names")
    parser.add_argument("--json", action="store_true", help="status: for programs")
    args = parser.parse_args(argv)
    try:
        if args.action == "status":
            states = status(args.run, trust=args.trust)
            if args.json:
                print(json.dumps([vars(s) for s in states], indent=1))
            else:
                print("\n".join(map(str, states)) or "no jobs at the site")
        elif args.action == "cancel":
            print(f"{cancel(args.run)} jobs stopped; inferkit resume {args.run} collects "
                  "what they had done and goes on")
        else:
            print(f"{clean(args.run, force=args.force)} jobs deleted at the site")
    except InferkitError as error:
        print(f"inferkit-unicore: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
