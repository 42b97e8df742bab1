"""The report as one self-contained page: the chain as a picture in two colours, the findings below. Touches nothing.

No script, no font, no image and no link leads anywhere; all that comes from outside is escaped, and no character of it
steers the text (bidi controls are shown as escapes).
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eks_cross_account._printable import printable_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from eks_cross_account.diagnosis.report import Chain, Finding, Report

_WIDTH, _HEIGHT = 96, 34  # of one arrow or two: not scaled, so that a telephone shows what a screen does
_LEGEND = (
    '<p class="legend"><span class="d">&#9632;</span> asked eks:DescribeCluster '
    '<span class="t">&#9632;</span> signed the token; dashed: refused, or not tried</p>'
)
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --soft: #57606a; --line: #d0d7de; --box: #f6f8fa;
  --describe: #0969da; --token: #bc4c00; --bad: #cf222e; --good: #1a7f37; --open: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --soft: #9198a1; --line: #3d444d;
  --box: #151b23; --describe: #4493f8; --token: #f0883e; --bad: #f85149; --good: #3fb950; --open: #d29922; } }
body { margin: 0 auto; max-width: 46rem; padding: 1.5rem 1rem 3rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: 0; } .soft { color: var(--soft); margin: .2rem 0 1rem; }
.verdict { font-weight: 600; padding: .5rem .8rem; border-left: .3rem solid; margin: 1rem 0; background: var(--box); }
.broken { border-color: var(--bad); } .healthy { border-color: var(--good); } .unknown { border-color: var(--open); }
.box { background: var(--box); border: 1px solid var(--line); border-radius: 8px; padding: .4rem .9rem;
  font-size: .85rem; overflow-wrap: anywhere; }
.box.bad { border: 2px solid var(--bad); } .kind { display: block; font-size: .75rem; color: var(--soft); }
.way { display: flex; justify-content: center; align-items: center; font-size: .75rem; color: var(--soft); }
svg { flex: none; }
section { border-top: 1px solid var(--line); padding: .8rem 0; }
h2 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; } p { margin: .3rem 0; overflow-wrap: anywhere; }
.state { display: inline-block; min-width: 4.6em; font-size: .78rem; font-weight: 700; }
.FAIL { color: var(--bad); } .PASS { color: var(--good); } .WARN, .UNKNOWN { color: var(--open); }
.SKIP { color: var(--soft); }
dl { display: grid; grid-template-columns: fit-content(12rem) 1fr; gap: .1rem .8rem; margin: .4rem 0;
  font-size: .9rem; }
dt { color: var(--soft); overflow-wrap: anywhere; } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 30rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .3rem; } }
pre { background: var(--box); border: 1px solid var(--line); border-radius: 6px; padding: .7rem; margin: .5rem 0;
  font-size: .82rem; line-height: 1.45; white-space: pre-wrap; overflow-wrap: anywhere; }
.legend { font-size: .85rem; margin: .5rem 0 1rem; } .d { color: var(--describe); } .t { color: var(--token); }
details summary { cursor: pointer; color: var(--soft); font-size: .85rem; }
"""


def page(report: Report) -> str:
    """The whole document."""
    verdict = report.verdict if report.root_cause is None else f"{report.verdict}: {report.root_cause}"
    title = f"EKS cluster {report.cluster_name}: {verdict}"
    body = [
        f"<h1>EKS cluster {_text(report.cluster_name)}</h1>",
        f'<p class="soft">region {_text(report.region)}</p>',
        f'<p class="verdict {report.verdict}">{_text(verdict)}</p>',
        _picture(report),
        _LEGEND,
        *map(_section, report.findings, _anchors(report.findings)),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{_text(title)}</title>'
    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    lines = "\n".join(body)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>{head}{policy}<style>{_STYLE}</style></head>\n'
        f"<body>\n{lines}\n</body>\n</html>\n"
    )


def _text(value: object) -> str:
    return html.escape(printable_line(str(value)), quote=True)


def _literal(value: str) -> str:
    """What is to be pasted: with its lines."""
    return "\n".join(_text(line) for line in value.split("\n"))


# --- findings


def _anchors(findings: Iterable[Finding]) -> Iterator[str]:
    """The findings' ids; with a number where one has had it, as each of several hops has."""
    taken: set[str] = set()
    for finding in findings:
        anchor = plain = _text(finding.id).replace(" ", "-")
        number = 1
        while anchor in taken:
            number += 1
            anchor = f"{plain}-{number}"
        taken.add(anchor)
        yield anchor


def _section(finding: Finding, anchor: str) -> str:
    word = "" if finding.state in {"PASS", "SKIP"} else f" <code>{_text(finding.id)}</code>"  # to be searched for
    parts = [
        f'<h2><span class="state {finding.state}">{finding.state}</span> {_text(finding.title)}{word}</h2>',
        f"<p>{_text(finding.summary)}</p>",
    ]
    if finding.evidence:
        rows = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in finding.evidence)
        parts.append(f"<dl>{rows}</dl>")
    remedy = finding.remedy
    if remedy is not None:
        whose = f" (account {_text(finding.owner)})" if finding.owner else ""
        words, brace, pasted = remedy.text.partition("\n{")
        parts.append(f"<p><strong>Fix{whose}:</strong> {_text(words)}</p>")
        if brace:
            parts.append(f"<pre>{_literal(f'{{{pasted}')}</pre>")
        parts += [f"<pre>{_literal(text)}</pre>" for text in remedy.pasted("cli")]
        if remedy.hcl:
            parts.append(f"<details><summary>Terraform</summary><pre>{_literal(remedy.hcl)}</pre></details>")
    if finding.state == "FAIL":
        parts.append(f"<p>Retrying {'may' if finding.retry else 'will not'} help.</p>")
    inner = "\n".join(parts)
    return f'<section id="{anchor}">\n{inner}\n</section>'


# --- the picture


@dataclass(frozen=True, slots=True)
class _Box:
    kind: str
    label: str
    is_broken: bool = False


def _picture(report: Report) -> str:
    """Boxes from the caller over the roles to the cluster; the last two arrows say who asked and who signed."""
    chain = report.chain
    boxes = [_Box("credentials", chain.caller or "unknown")]
    for arn, granted in chain.hops:
        boxes.append(_Box("role", arn, is_broken=not granted))
    reached = not any(box.is_broken for box in boxes)
    named = (report.cluster or {}).get("arn")
    boxes.append(_Box("cluster", str(named or report.cluster_name), is_broken=reached and report.verdict == "broken"))
    parts = [_drawn(boxes[0])]
    for box in boxes[1:-1]:
        parts += [_way(_arrow(_WIDTH / 2, "--soft", box.is_broken)), _drawn(box)]
    is_in = report.confirmed or not boxes[-1].is_broken
    parts += [_double(chain, is_in=is_in, is_described=report.cluster is not None), _drawn(boxes[-1])]
    return "\n".join(parts)


def _drawn(box: _Box) -> str:
    bad = " bad" if box.is_broken else ""
    return f'<div class="box{bad}"><span class="kind">{_text(box.kind)}</span>{_text(box.label)}</div>'


def _way(arrows: str, note: str = "") -> str:
    size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    return f'<div class="way"><svg {size} aria-hidden="true">{arrows}</svg>{note}</div>'


def _double(chain: Chain, *, is_in: bool, is_described: bool) -> str:
    """The two ways to the cluster: who described it, and whose token it gets."""
    described = _arrow(_WIDTH / 2 - 30, "--describe", chain.described_as is None or not is_described)
    signed = _arrow(_WIDTH / 2 + 30, "--token", not is_in or chain.token_of is None)
    return _way(described + signed, "" if _is_same(chain) else "another identity signed")


def _is_same(chain: Chain) -> bool:
    """Whether one role did both; the one is a role's ARN with its path, the other a session's."""
    if chain.described_as is None or chain.token_of is None or ":assumed-role/" not in chain.token_of:
        return True
    return chain.described_as.rsplit("/", 1)[-1] in chain.token_of.split("/") or chain.described_as == chain.token_of


def _arrow(x: float, colour: str, is_broken: bool) -> str:  # noqa: FBT001 - how it is drawn
    drawn = f"var({'--bad' if is_broken and colour == '--soft' else colour})"
    dashes = "stroke-dasharray:4 4;" if is_broken else ""
    return (
        f'<line x1="{x}" y1="3" x2="{x}" y2="{_HEIGHT - 8}" style="stroke:{drawn};stroke-width:3;{dashes}"/>'
        f'<path d="M{x - 6} {_HEIGHT - 10} L{x + 6} {_HEIGHT - 10} L{x} {_HEIGHT - 2} Z" style="fill:{drawn}"/>'
    )
