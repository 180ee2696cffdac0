"""The page: header with the overall verdict, contents, sections, and a little CSS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from inferkit.diagnose import ORDER, Checks
from inferkit.report.section import Section, escape
from inferkit.report.svg import DARK, LIGHT

MEANING = {
    "FAIL": "Do not use this posterior yet",
    "WARN": "Use with care",
    "PASS": "No fault found",
    "NOT RUN": "Nothing was checked",
}
MARK = {"FAIL": "✕", "WARN": "!", "PASS": "✓", "NOT RUN": "–"}

CSS = """
:root{%(light)s;--fail:#b3261e;--warn:#8a5a00;--pass:#1a6e3c;--not-run:#57606a;--card:#f6f8fa;
color-scheme:light dark}
@media screen and (prefers-color-scheme:dark){:root{%(dark)s;--fail:#ff8a80;--warn:#f2c14e;
--pass:#6fd08c;--not-run:#9aa4af;--card:#1d232a}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
main,header{max-width:1080px;margin:0 auto;padding:0 20px}
header{padding-top:28px}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:44px 0 12px;padding-top:12px;border-top:1px solid var(--grid)}
h3{font-size:1rem;margin:24px 0 6px}
p{margin:6px 0;max-width:75ch;overflow-wrap:anywhere}
.sub,.note,figcaption,.rests{color:var(--muted)}
.note{border-left:3px solid var(--grid);padding-left:12px}
.badge{display:flex;align-items:center;gap:16px;margin:18px 0;padding:14px 18px;border-radius:10px;
border:2px solid var(--s);background:color-mix(in srgb,var(--s) 10%%,var(--paper))}
.badge b{font-size:1.9rem;line-height:1.1;color:var(--s);white-space:nowrap}
.badge span{display:block}
.FAIL{--s:var(--fail)}.WARN{--s:var(--warn)}.PASS{--s:var(--pass)}.NOT-RUN{--s:var(--not-run)}
nav{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:.9rem;margin:8px 0}
a{color:var(--posterior)}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:.9rem;margin:8px 0 0;padding:0;
list-style:none}
.legend i{display:inline-block;width:22px;height:0;border-top:3px solid var(--c);margin-right:6px;
vertical-align:middle}
.menu{position:sticky;top:0;z-index:1;max-width:1040px;margin:14px auto 0;padding:6px 20px;border:0;
border-bottom:1px solid var(--grid);background:var(--paper);display:flex;flex-wrap:wrap;gap:2px 14px}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%%,330px),1fr));gap:12px}
.card{background:var(--card);border-left:5px solid var(--s);border-radius:6px;padding:10px 14px;
font-size:.92rem;break-inside:avoid}
.card h3{margin:0 0 4px;display:flex;justify-content:space-between;gap:8px;flex-wrap:wrap}
.card h3 em{font-style:normal;color:var(--s);white-space:nowrap}
.card .ask{color:var(--muted);margin:0 0 4px;font-size:.86rem}
.card .todo{border-top:1px solid var(--grid);padding-top:6px}
.card .rests{font-size:.82rem}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.9rem;width:100%%}
caption{text-align:left;color:var(--muted);padding-bottom:4px}
th,td{text-align:left;padding:5px 12px 5px 0;border-bottom:1px solid var(--grid);
vertical-align:top}
td{overflow-wrap:break-word;min-width:5ch}th{white-space:nowrap}
.number,.nowrap{white-space:nowrap;font-variant-numeric:tabular-nums}
.prose td:last-child{overflow-wrap:anywhere}
figure{margin:14px 0;break-inside:avoid}
.picture svg{display:block;width:100%%;height:auto;min-width:var(--least)}
.on-narrow{display:none}
.picture svg text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,sans-serif!important}
figcaption{font-size:.88rem;margin-top:4px;max-width:75ch}
.range{position:relative;height:16px;min-width:130px}
.range u,.range b,.range s{position:absolute;top:50%%;transform:translateY(-50%%)}
.range u{height:3px;background:var(--prior);opacity:.55}
.range b{height:9px;background:var(--posterior);border-radius:2px;min-width:3px}
.range s{width:3px;height:15px;background:var(--truth)}
pre{background:var(--card);padding:10px;border-radius:6px;overflow:auto;font-size:.82rem;
max-height:28rem}
footer{color:var(--muted);font-size:.85rem;margin:40px 0 24px}
@media screen and (max-width:600px){main,header{padding-left:12px;padding-right:12px}
.badge b{font-size:1.4rem}h1{font-size:1.25rem}
.on-wide{display:none}.on-narrow{display:block}
.picture svg{min-width:0}.picture:focus svg{min-width:var(--least)}
pre{white-space:pre-wrap;overflow-wrap:anywhere}th{white-space:normal}
td:last-child,.stack td{overflow-wrap:anywhere}.number,.nowrap{white-space:normal}
.stack,.stack tbody,.stack tr,.stack td{display:block}.stack thead{display:none}
.stack tr{border-bottom:1px solid var(--grid);padding:6px 0}
.stack td{display:flex;justify-content:space-between;gap:12px;border:0;padding:1px 0;text-align:right}
.stack td::before{content:attr(data-label);color:var(--muted);text-align:left;white-space:nowrap}
.stack td:empty{display:none}.stack .range{flex:1;max-width:60%%}}
@media print{body{font-size:11pt}nav{display:none}.wide{overflow:visible}
.picture svg{min-width:0}pre{max-height:none;white-space:pre-wrap}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""


def render(headline: tuple[str, str], checks: Checks, sections: Sequence[Section],
           menu: str = "") -> str:
    """The whole page as one string."""
    def variables(colours: dict[str, str]) -> str:
        return ";".join(f"--{k}:{v}" for k, v in colours.items())

    title, sub = headline
    css = CSS % {"light": variables(LIGHT), "dark": variables(DARK)}
    ids: Counter[str] = Counter()
    anchors = []
    for s in sections:
        ids[s.id] += 1
        anchors.append(s.id if ids[s.id] == 1 else f"{s.id}-{ids[s.id]}")
    nav = "".join(f'<a href="#{escape(a)}">{escape(s.title)}</a>'
                  for a, s in zip(anchors, sections))
    body = "".join(f'<section id="{escape(a)}"><h2>{escape(s.title)}</h2>{s.html}</section>'
                   for a, s in zip(anchors, sections))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}: {escape(checks.status)}</title><style>{css}</style></head><body>"
        f'<header><h1>{escape(title)}</h1><p class="sub">{escape(sub)}</p>{badge(checks)}'
        f'<nav aria-label="contents">{nav}</nav>{legend()}</header>{menu}'
        f"<main>{body}<footer>Made by inferkit. This file needs no network.</footer></main>"
        "</body></html>\n")


def badge(checks: Checks) -> str:
    """The overall verdict, large, with how many checks say what."""
    found = Counter(v.status for v in checks.verdicts)
    told = ", ".join(f"{found[s]} {s}" for s in ORDER if found[s]) or "no checks"
    status = checks.status
    meaning = MEANING[status]
    if checks.caveat:
        meaning += f", {checks.caveat}"
    return (f'<div class="badge {status.replace(" ", "-")}" id="overall"><b>{MARK[status]} '
            f"{status}</b><span>{meaning}<span class=\"sub\">{told}</span></span></div>")


def legend() -> str:
    roles = (("prior", "prior"), ("posterior", "posterior"), ("observed", "observed data"),
             ("truth", "true parameters, where known"))
    return '<ul class="legend" aria-label="colours">' + "".join(
        f'<li><i style="--c:var(--{role})"></i>{words}</li>' for role, words in roles) + "</ul>"
