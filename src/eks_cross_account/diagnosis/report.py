"""Findings and the report made of them: as text for people, as JSON for programs. Touches nothing."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["PASS", "WARN", "FAIL", "UNKNOWN", "SKIP"]
View = Literal["aws", "token", "api-server", "inferred"]
Verdict = Literal["healthy", "broken", "unknown"]
Form = Literal["cli", "hcl", "yaml"]

SCHEMA = "eks-token-check/1"  # additions only; a change of meaning is a new number
MAX_BYTES = 1 << 20  # of a report's JSON, when it is read again
_EXIT_CODES: dict[Verdict, int] = {"healthy": 0, "broken": 1, "unknown": 3}
WIDTH = 80  # of a page, where nobody says another
_INDENT = 8


class UnreadableReportError(ValueError):
    """The text is no report that ``check --output json`` printed."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """What a person can do. ``commands``: lines for a POSIX shell; ``hcl``, ``yaml``: None where there is none."""

    text: str
    commands: tuple[str, ...] = ()
    hcl: str | None = None
    yaml: str | None = None

    def pasted(self, form: Form) -> tuple[str, ...]:
        """What to paste: in this form where there is one, else commands; and what goes into a file beside them."""
        rows = (self.yaml,) if self.yaml else ()
        if form == "hcl" and self.hcl:
            return (*rows, self.hcl)
        return rows if rows and form == "yaml" else (*rows, *self.commands)

    def to_dict(self) -> dict[str, Any]:
        """As the JSON answers have it."""
        return {"text": self.text, "commands": list(self.commands), "hcl": self.hcl, "yaml": self.yaml}


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement about one link.

    ``id``: a word to search for; ``view``: whose knowledge it is; ``evidence``: (name, value) pairs; ``cause``: the id
    in docs/causes, or None; ``owner``: the account that can mend it, "" for nobody or unknown; ``retry``: whether
    trying again can help; ``consequence_of``: the id of the finding that this one is a symptom of.
    """

    id: str
    state: State
    view: View
    title: str
    summary: str
    evidence: tuple[tuple[str, str], ...] = ()
    remedy: Remedy | None = None
    cause: str | None = None
    owner: str = ""
    retry: bool = False
    consequence_of: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As the JSON report has it."""
        return {
            "id": self.id,
            "state": self.state,
            "view": self.view,
            "title": self.title,
            "summary": self.summary,
            "evidence": dict(self.evidence),
            "remedy": None if self.remedy is None else self.remedy.to_dict(),
            "cause": self.cause,
            "owner": self.owner,
            "retry": self.retry,
            "consequence_of": self.consequence_of,
        }


@dataclass(frozen=True, slots=True)
class Chain:
    """Who acted, as far as is known: ARNs, None where it is not.

    ``hops``: the roles in their order, and whether each was granted. ``described_as``: who asked DescribeCluster;
    ``token_of``: whom STS found behind the token. The two differ where one part of a program uses other credentials
    than another, which is what a 401 with a good chain usually is.
    """

    caller: str | None = None
    hops: tuple[tuple[str, bool], ...] = ()
    described_as: str | None = None
    token_of: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As the JSON report has it."""
        hops = [{"role_arn": arn, "granted": granted} for arn, granted in self.hops]
        return {"caller": self.caller, "hops": hops, "described_as": self.described_as, "token_of": self.token_of}


@dataclass(frozen=True, slots=True)
class Report:
    """The findings in the chain's order, and what they amount to.

    ``identity``: what STS said of the token, as a mapping with account, arn, user_id, canonical_arn, session_name;
    None where it was not asked or did not say. ``confirmed``: the API server answered with that same identity; asked
    about a principal: the cluster maps it. ``facts``: what was seen, as the other side's report may be joined by.
    ``permissions``: the namespace, and the rules that were asked about with what came of each.
    """

    cluster_name: str
    region: str
    findings: tuple[Finding, ...]
    identity: dict[str, str] | None = None
    cluster: dict[str, Any] | None = None
    confirmed: bool = False
    facts: dict[str, Any] | None = None
    chain: Chain = Chain()
    permissions: dict[str, Any] | None = None

    @property
    def root_cause(self) -> str | None:
        """The id of the first broken link that is no consequence of another: those after it are consequences too."""
        broken = [finding for finding in self.findings if finding.state == "FAIL"]
        first = next((finding for finding in broken if finding.consequence_of is None), None)
        return first.id if first is not None else None

    @property
    def verdict(self) -> Verdict:
        """``broken`` at any FAIL; ``healthy`` only when the API server confirmed the identity; else ``unknown``."""
        if any(finding.state == "FAIL" for finding in self.findings):
            return "broken"
        return "healthy" if self.confirmed else "unknown"

    @property
    def exit_code(self) -> int:
        """0 healthy, 1 broken, 3 unknown."""
        return _EXIT_CODES[self.verdict]

    def to_json(self) -> str:
        """One JSON document, schema ``eks-token-check/1``."""
        document = {
            "schema": SCHEMA,
            "command": "check",
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "root_cause": self.root_cause,
            "identity": self.identity,
            "cluster": self.cluster,
            "chain": self.chain.to_dict(),
            "permissions": self.permissions,
            "findings": [finding.to_dict() for finding in self.findings],
            "facts": self.facts,
        }
        return json.dumps(document, indent=2)

    def to_html(self) -> str:
        """One self-contained page: the chain as a picture, the findings below."""
        from eks_cross_account.diagnosis._html import page  # noqa: PLC0415 - it draws this very class

        return page(self)

    def to_text(self, form: Form = "cli", *, width: int | None = None) -> str:
        """A page for people: the verdict last, where the eye rests after a command has run.

        ``form``: of the remedies, where a remedy has it; else the commands. ``width``: of a terminal, into whose lines
        what is well is made to fit, if need be without the middle of a long ARN.
        """
        lines = [f"cluster {self.cluster_name}, region {self.region}", ""]
        for finding in self.findings:
            lines += text_of(finding, form, width)
        lines += ["", f"verdict: {self.verdict}{_because(self)}"]
        return "\n".join(lines) + "\n"


def read_document(raw: str | bytes) -> dict[str, Any]:
    """A report's JSON, of which nothing but the schema is known. Raises UnreadableReportError for anything else."""
    if len(raw) > MAX_BYTES:
        raise UnreadableReportError(f"a report of check has not more than {MAX_BYTES} bytes")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise UnreadableReportError("it is not JSON: give what `check --output json` printed") from None
    if not isinstance(document, dict) or (document.get("schema"), document.get("command")) != (SCHEMA, "check"):
        raise UnreadableReportError(f"it is no report of check ({SCHEMA})")
    return document


def _because(report: Report) -> str:
    if report.root_cause is not None:
        return f" - root cause: {report.root_cause}"
    open_ends = [finding.title for finding in report.findings if finding.state in {"UNKNOWN", "SKIP"}]
    return f" - not known: {', '.join(open_ends)}" if open_ends and not report.confirmed else ""


def text_of(finding: Finding, form: Form, terminal: int | None = None) -> list[str]:
    """The lines of a finding on a page for people; ``terminal``: the width of theirs, None for a file or a log."""
    width = terminal or WIDTH
    if finding.state in {"PASS", "SKIP"}:  # two lines at most: the page fits a screen of 24 when all is well
        text = f"{finding.title}: {finding.summary}"
        if terminal is not None:
            text = " ".join(_shortened(word, terminal - _INDENT) for word in text.split(" "))
        first, *more = wrapped(text, finding.state, width)
        return [first, *more] if len(more) <= 1 else [first, f"{more[0][: width - 4]} ..."]
    lines = wrapped(f"[{finding.id}] {finding.summary}", finding.state, width)
    for name, value in finding.evidence:
        lines += wrapped(f"{name}: {value}", width=width)
    if finding.remedy is not None:
        whose = f" (account {finding.owner})" if finding.owner else ""
        lines += wrapped(f"fix{whose}: {finding.remedy.text}", width=width)
        lines += [f"{'':{_INDENT}}{line}" for text in finding.remedy.pasted(form) for line in text.splitlines()]
    if finding.state == "FAIL":
        lines += wrapped("Retrying may help." if finding.retry else "Retrying will not help.", width=width)
    return lines


def _shortened(word: str, room: int) -> str:
    """An ARN whose path or name does not fit a line, without its middle: the account and the name's end are kept."""
    if len(word) <= room:
        return word
    head = min(room * 2 // 3, word.find("/") + 1 or room // 2)
    return f"{word[:head]}...{word[len(word) - (room - head - 3) :]}"


def wrapped(text: str, label: str = "", width: int = WIDTH) -> list[str]:
    """The text as lines of the page, the label at the margin of the first; what looks like JSON stays as it is."""
    blank = " " * _INDENT
    lines = [
        line
        for paragraph in text.split("\n")
        for line in (
            textwrap.wrap(
                paragraph,
                width,
                initial_indent=blank,
                subsequent_indent=blank,
                break_long_words=False,
                break_on_hyphens=False,
            )
            if not paragraph.startswith((" ", "{", "}"))
            else [blank + paragraph]
        )
    ]
    return [f"{label:<{_INDENT}}{lines[0][_INDENT:]}", *lines[1:]] if label else lines
