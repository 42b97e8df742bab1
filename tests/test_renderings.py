"""The other forms of a report: Terraform, a page of HTML, the text for the owner, and what has changed."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from eks_cross_account.cli import main
from eks_cross_account.diagnosis import Finding, Remedy, Report, ask_owner, remedies
from eks_cross_account.diagnosis._compare import changes, read_report
from eks_cross_account.diagnosis._terraform import quoted
from eks_cross_account.diagnosis.report import Chain, UnreadableReportError

if TYPE_CHECKING:
    from pathlib import Path

    from eks_cross_account.sandbox import Sandbox

ROLE = "arn:aws:iam::222222222222:role/cross-account-role"
CHECK = ["check", "--cluster-name", "analytics", "--role-arn", ROLE]
HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e\"'&"


@pytest.fixture
def broken(eks_sandbox: Sandbox) -> Sandbox:
    eks_sandbox.remove_access_entry(eks_sandbox.cluster(), ROLE)
    return eks_sandbox


class Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        assert not any(name.startswith("on") or name in {"src", "href"} for name, _ in attrs)


def report(text: str) -> Report:
    remedy = Remedy(text, (text,), hcl=text)
    finding = Finding("not-mapped", "FAIL", "aws", "mapping", text, (("seen", text),), remedy, owner=text)
    chain = Chain(caller=text, hops=((text, True),), described_as=text, token_of=text)
    return Report("analytics", text, (finding,), chain=chain)


def test_hostile_text_makes_no_element_and_steers_nothing() -> None:
    page = report(HOSTILE).to_html()

    assert Elements(page).found == Elements(report("plain").to_html()).found
    assert "\x1b" not in page
    assert "\u202e" not in page


@pytest.mark.usefixtures("broken")
def test_the_page_of_a_broken_chain_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*CHECK, "--output", "html"]) == 1

    page = capsys.readouterr().out
    assert {"svg", "section", "pre", "style"} <= set(Elements(page).found)
    assert "aws_eks_access_entry" in page
    assert "http://" not in page


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize(("form", "shown"), [("cli", "aws eks create-access-entry"), ("hcl", "aws_eks_access_entry")])
def test_fixes_come_in_the_form_that_is_asked_for(capsys: pytest.CaptureFixture[str], form: str, shown: str) -> None:
    assert main([*CHECK, "--remedy", form]) == 1
    assert shown in capsys.readouterr().out


@pytest.mark.usefixtures("broken")
def test_the_text_for_the_owner_is_short_and_speaks_of_no_airflow(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*CHECK, "--ask-owner"]) == 1

    text = capsys.readouterr().out
    assert len(text.splitlines()) <= 15
    assert "To the owner of AWS account 222222222222" in text
    assert "aws eks create-access-entry --cluster-name analytics" in text
    assert all(part in text for part in ("What we want:", "Why:", "Least rights", "To verify:", "To undo:"))
    assert "airflow" not in text.lower().replace("airflow-workers", "")


def test_there_is_nothing_to_ask_for_where_all_is_well(
    eks_sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    del eks_sandbox
    assert main([*CHECK, "--ask-owner"]) == 0
    assert capsys.readouterr().out == "Nothing to ask for: analytics lets us in.\n"


def test_a_refused_hop_is_asked_for_with_its_statement() -> None:
    caller = "arn:aws:sts::111111111111:assumed-role/mwaa-exec/s"
    remedy = remedies.trust_policy_remedy(caller, ROLE, external_id_sent=False)
    finding = Finding("assume-role-denied", "FAIL", "aws", "hop 1 of 1", "refused", remedy=remedy, owner="222222222222")

    text = ask_owner(Report("c", "eu-west-1 (argument)", (finding,), chain=Chain(caller, ((ROLE, False),))))

    statement = json.loads(next(line for line in text.splitlines() if "trust policy: " in line).partition(": ")[2])
    assert statement == remedies.trust_statement(caller)


@pytest.mark.parametrize(
    ("because", "owner", "said"),
    [
        ("because no identity-based policy allows the sts:AssumeRole action", "111111111111", "allow sts:AssumeRole"),
        ("because no resource-based policy allows the sts:AssumeRole action", "222222222222", "trust policy"),
        ("because no permissions boundary allows the sts:AssumeRole action", "111111111111", "boundary"),
        ("because no session policy allows the sts:AssumeRole action", "111111111111", "session"),
        ("because no VPC endpoint policy allows the sts:AssumeRole action", "111111111111", "VPC endpoint"),
        ("with an explicit deny in a service control policy", "", "organization"),
        ("with an explicit deny in a resource control policy", "", "organization"),
        ("with an explicit deny in an identity-based policy", "111111111111", "Deny"),
        ("with an explicit deny in a resource-based policy", "222222222222", "Deny"),
        ("", "222222222222", "trust policy"),
    ],
)
def test_awss_words_decide_what_mends_a_refused_hop_and_who(because: str, owner: str, said: str) -> None:
    caller = "arn:aws:sts::111111111111:assumed-role/mwaa-exec/s"
    message = f"User: {caller} is not authorized to perform: sts:AssumeRole on resource: {ROLE} {because}"

    remedy, whose = remedies.refused_hop_remedy(message, caller, ROLE, external_id_sent=False)

    assert (whose, said in remedy.text) == (owner, True), remedy.text


def test_a_hop_that_passes_tags_needs_tagsession_too() -> None:
    caller = "arn:aws:sts::111111111111:assumed-role/mwaa-exec/s"
    message = (
        f"is not authorized to perform: sts:TagSession on resource: {ROLE} because no resource-based policy allows"
    )

    remedy, _ = remedies.refused_hop_remedy(message, caller, ROLE, external_id_sent=False)

    assert 'actions = ["sts:AssumeRole", "sts:TagSession"]' in (remedy.hcl or "")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ('a"b\\', '"a\\"b\\\\"'),
        ("${x} %{y} $5 100%", '"\\u0024{x} \\u0025{y} $5 100%"'),
        ("$${x}", '"\\u0024\\u0024{x}"'),
        ("\u202e\n\U0001f600", '"\\u202e\\n\\U0001f600"'),
    ],
)
def test_a_value_is_written_so_that_terraform_reads_it_back(value: str, written: str) -> None:
    assert quoted(value) == written


def json_of(capsys: pytest.CaptureFixture[str]) -> str:
    main([*CHECK, "--output", "json"])
    return capsys.readouterr().out


def test_what_has_changed_since_a_good_day_is_said(
    eks_sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "good.json"
    file.write_text(json_of(capsys))
    eks_sandbox.remove_access_entry(eks_sandbox.cluster(), ROLE)
    eks_sandbox.cluster().version = "1.35"

    assert main([*CHECK, "--compare", str(file)]) == 1

    text = capsys.readouterr().out
    assert "  verdict: healthy -> broken\n" in text
    assert "  cluster version: 1.34 -> 1.35\n" in text
    assert "  API server: PASS api-server -> FAIL not-mapped\n" in text


def test_nothing_has_changed_between_two_runs(eks_sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    del eks_sandbox
    first, second = (read_report(json_of(capsys).encode()) for _ in range(2))

    assert changes(first, second) == ()


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[" * 100_000, b"[]", b'{"schema": "eks-token-check/1", "command": "decode"}', b" " * 1_000_001,
     b'{"schema": "eks-token-check/1", "command": "check", "findings": [1]}'],
    ids=lambda raw: str(raw[:20]),
)  # fmt: skip
def test_what_is_no_report_is_refused(raw: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_bytes(raw)

    with pytest.raises(UnreadableReportError):
        read_report(raw)
    assert main([*CHECK, "--compare", str(file)]) == 2
    assert "--compare" in capsys.readouterr().err


def test_hostile_values_of_an_earlier_report_steer_nothing() -> None:
    def document(text: str) -> dict[str, Any]:
        return {"verdict": text, "findings": [], "identity": {"arn": text}, "cluster": {"version": text}}

    for change in changes(document(HOSTILE), document("x")):
        assert change.before.isprintable()
        assert change.before.isascii()
