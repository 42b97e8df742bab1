"""The other forms of a report: Terraform, a page of HTML, the text for the owner, and what has changed."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
MARKUP = ("<b>", "</section>", "<!--", "-->", "]]>", "&lt;", "&#60;", '" onload="x', "' style='", "</style>",
          "<svg/onload=1>", "\x1b]0;x\x07", "\u202e", "\u2028", "\x00", "\n", "\n{", "x")  # fmt: skip


@pytest.fixture
def broken(eks_sandbox: Sandbox) -> Sandbox:
    eks_sandbox.remove_access_entry(eks_sandbox.cluster(), ROLE)
    return eks_sandbox


class Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, ...]] = []
        self.feed(page)
        self.close()

    @property
    def tags(self) -> set[str]:
        return {tag for tag, *_ in self.found}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, *(name for name, _ in attrs)))
        assert not any(name.startswith("on") or name in {"src", "href"} for name, _ in attrs)

    def handle_endtag(self, tag: str) -> None:
        self.found.append((f"/{tag}",))

    def handle_comment(self, data: str) -> None:
        self.found.append(("comment", data))


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


@given(st.text() | st.lists(st.sampled_from(MARKUP)).map("".join))
def test_whatever_a_report_holds_its_page_has_the_same_elements(text: str) -> None:
    page = report(f"x{text}").to_html()

    plain = "plain\n{" if "\n{" in text else "plain"  # what looks like JSON is shown as such
    assert Elements(page).found == Elements(report(plain).to_html()).found
    assert all(line.isprintable() for line in page.split("\n"))


def test_sections_of_one_id_are_told_apart_and_keep_their_anchors() -> None:
    ids = ("assume-role", "cluster", "assume-role", "assume-role-2", "assume-role", "a\nb", "a b")
    findings = tuple(Finding(name, "PASS", "aws", "hop", "x") for name in ids)

    page = Report("analytics", "eu-west-1", findings).to_html()

    assert re.findall(r'<section id="([^"]*)">', page) == [
        "assume-role", "cluster", "assume-role-2", "assume-role-2-2", "assume-role-3", "a-b", "a-b-2",
    ]  # fmt: skip


def test_what_is_not_well_has_its_word_to_search_for_and_what_is_well_has_none() -> None:
    findings = (Finding("cluster", "PASS", "aws", "cluster", "x"), Finding("not-mapped", "FAIL", "aws", "API", "x"))

    page = Report("analytics", "eu-west-1", findings).to_html()

    assert re.findall(r"<h2>.*?</span> (.*)</h2>", page) == ["cluster", "API <code>not-mapped</code>"]


@pytest.mark.parametrize(("cluster", "dashed"), [(None, 1), ({"arn": "x"}, 0)])
def test_a_cluster_that_was_not_described_has_a_dashed_arrow(cluster: dict[str, str] | None, dashed: int) -> None:
    chain = Chain(caller="a", described_as="a", token_of="a")

    page = Report("analytics", "eu-west-1", (), chain=chain, cluster=cluster).to_html()

    assert len(re.findall(r"var\(--describe\);stroke-width:3;stroke-dasharray", page)) == dashed


def test_a_role_of_any_length_is_shown_whole_in_the_picture() -> None:
    arn = f"arn:aws:iam::222222222222:role/{'x' * 500}/eks"

    page = Report("analytics", "eu-west-1", (), chain=Chain(hops=((arn, True),))).to_html()

    assert f'<span class="kind">role</span>{arn}</div>' in page


@pytest.mark.parametrize(("confirmed", "dashed"), [(True, 0), (False, 1)])
def test_a_token_that_was_taken_is_a_whole_arrow_even_where_rights_are_missing(confirmed: Any, dashed: int) -> None:
    chain = Chain(caller="a", described_as="a", token_of="a")
    denied = (Finding("forbidden", "FAIL", "api-server", "permissions", "x"),)

    report = Report("analytics", "eu-west-1", denied, cluster={"arn": "c"}, chain=chain, confirmed=confirmed)
    page = report.to_html()

    assert page.count("stroke-dasharray") == dashed


def luminance(colour: str) -> float:
    """Of WCAG 2: of #rgb or #rrggbb."""
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(
    "scheme", [r":root \{ color-scheme: light dark;([^}]*)\}", r"\(prefers-color-scheme: dark\) \{ :root \{([^}]*)\}"]
)
def test_every_colour_is_there_by_day_and_by_night_and_can_be_read(scheme: str) -> None:
    page = report("x").to_html()
    found = re.search(scheme, page)
    assert found is not None
    colours = dict(re.findall(r"(--[a-z]+): (#[0-9a-f]{3,6})", found[1]))

    assert set(colours) == set(re.findall(r"var\((--[a-z]+)\)", page))
    for ground in (colours["--paper"], colours["--box"]):
        for name in set(colours) - {"--paper", "--box", "--line"}:
            darker, lighter = sorted((luminance(ground), luminance(colours[name])))
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (name, ground)  # WCAG 2, AA


@pytest.mark.usefixtures("broken")
def test_the_page_of_a_broken_chain_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*CHECK, "--output", "html"]) == 1

    page = capsys.readouterr().out
    assert {"svg", "section", "pre", "style"} <= Elements(page).tags
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


FORMS = (["--output", "text"], ["--remedy", "hcl"], ["--remedy", "yaml"], ["--output", "json"], ["--output", "html"],
         ["--ask-owner"])  # fmt: skip


def break_the_mapping(sandbox: Sandbox) -> None:
    sandbox.remove_access_entry(sandbox.cluster(), ROLE)


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda _: None, 0),
        (break_the_mapping, 1),
        (lambda sandbox: sandbox.deny("sts:AssumeRole"), 1),
        (lambda sandbox: sandbox.deny("eks:DescribeCluster"), 3),
    ],
    ids=["healthy", "not mapped", "refused hop", "unknown"],
)
def test_no_form_changes_the_exit_code_or_shows_a_secret(
    eks_sandbox: Sandbox, capsys: pytest.CaptureFixture[str], form: list[str], change: Any, code: int
) -> None:
    change(eks_sandbox)

    assert main([*CHECK, "--external-id", "canary-7", *form]) == code

    printed = capsys.readouterr()
    secrets = [eks_sandbox.environ[name] for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")]
    assert not any(secret in printed.out + printed.err for secret in (*secrets, "canary-7", "k8s-aws-v1."))
    assert all(line.isprintable() for line in printed.out.split("\n"))


@pytest.mark.parametrize(
    "flags",
    [
        ["--ask-owner", "--output", "json"],
        ["--ask-owner", "--output", "html"],
        ["--ask-owner", "--remedy", "hcl"],
        ["--ask-owner", "--compare", "file"],
        ["--ask-owner", "--principal-arn", ROLE],
        ["--remedy", "hcl", "--output", "json"],
        ["--remedy", "cli", "--output", "html"],
        ["--compare", "file", "--output", "html"],
        ["--remedy", "json"],
        ["--compare", "/nonexistent/file"],
        ["--compare", "/"],
    ],
    ids=" ".join,
)
def test_forms_that_exclude_each_other_are_usage(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*CHECK, *flags]) == 2

    printed = capsys.readouterr()
    assert printed.out == ""
    assert flags[0] in printed.err or "cannot read" in printed.err


def test_a_web_identity_that_is_refused_gets_the_trust_policy_that_it_needs(
    eks_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    token = tmp_path / "jwt"
    token.write_text("e30.eyJpc3MiOiJodHRwczovL3Rva2VuLmFjdGlvbnMuZ2l0aHVidXNlcmNvbnRlbnQuY29tIiwic3ViIjoieCJ9.canary")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    del eks_sandbox

    assert main([*CHECK, "--remedy", "hcl"]) == 1

    out = capsys.readouterr().out
    assert "FAIL    [credentials-invalid] the AWS credentials cannot be used: An error" in out
    assert '"token.actions.githubusercontent.com:sub": "repo:<OWNER>/<REPOSITORY>:ref:refs/heads/<BRANCH>"' in out
    assert 'data "aws_iam_policy_document" "trust" {' in out
    assert "canary" not in out


@pytest.mark.parametrize("number", [1, 3])
def test_all_is_well_on_one_screen(eks_sandbox: Sandbox, capsys: pytest.CaptureFixture[str], number: int) -> None:
    gates = [f"arn:aws:iam::222222222222:role/team/gateway-number-{gate}" for gate in range(1, number)]
    before = "arn:aws:iam::111111111111:role/service-role/mwaa-exec"
    for gate in gates:
        eks_sandbox.add_role(gate, trust=[before], allow=["sts:AssumeRole"])
        before = gate
    eks_sandbox.delete_role(ROLE)
    eks_sandbox.add_role(ROLE, trust=[before], allow=["eks:*", "iam:GetRole"])
    eks_sandbox.remove_access_entry(eks_sandbox.cluster(), ROLE)
    eks_sandbox.add_access_entry(eks_sandbox.cluster(), ROLE, groups=["airflow-workers"])
    roles = [flag for arn in (*gates, ROLE) for flag in ("--role-arn", arn)]

    assert main(["check", "--cluster-name", "analytics", *roles]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert sum(1 + (len(line) - 1) // 80 for line in lines) <= 24  # rows of a terminal: an ARN is not broken
    assert [line for line in lines if len(line) > 80 and " " in line.strip()] == []


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


GREEN = {"id": "cluster", "state": "PASS", "title": "cluster", "summary": "x", "evidence": {"type": "STANDARD"}}


def written(**members: Any) -> bytes:
    """A report that can be compared with, but for these members."""
    document = {"schema": "eks-token-check/1", "command": "check", "verdict": "healthy", "findings": [GREEN]}
    return json.dumps({**document, **members}).encode()


def test_a_suspicion_that_only_a_red_report_has_is_no_change_and_another_release_is() -> None:
    environment = {"id": "environment", "state": "PASS", "title": "environment", "summary": "x"}
    defect = {**environment, "id": "known-defect", "state": "WARN", "evidence": {}}
    before, after = (
        read_report(written(findings=[*found, {**environment, "evidence": {"installed": release}}]))
        for found, release in (([], "kubernetes 36.0.1"), ([defect], "kubernetes 36.0.2"))
    )

    assert [(change.what, change.before, change.after) for change in changes(before, after)] == [
        ("environment: installed", "kubernetes 36.0.1", "kubernetes 36.0.2")
    ]


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[" * 100_000, b"[]", b"\xff\xfe\x00", b" " * 2_000_000, b'{"a": ' * 100_000,
     b'{"schema": "eks-token-check/1", "command": "decode"}', b'{"schema": "eks-token-check/2", "command": "check"}',
     written(findings=[1]), written(findings=None), written(verdict=None), written(verdict=["x"]),
     written(identity=[]), written(identity={"arn": ["x"]}), written(cluster={"version": {}}),
     written(findings=[{**GREEN, "evidence": {"type": [[]]}}]), written(findings=[{**GREEN, "title": 1}])],
    ids=lambda raw: str(raw[-40:]),
)  # fmt: skip
def test_what_is_no_report_is_refused(raw: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_bytes(raw)

    with pytest.raises(UnreadableReportError):
        read_report(raw)
    assert main([*CHECK, "--compare", str(file)]) == 2
    assert "--compare" in capsys.readouterr().err


@given(st.text(st.characters()) | st.sampled_from([HOSTILE, "\ud800", "x" * 5000]))
def test_hostile_values_of_an_earlier_report_steer_nothing(text: str) -> None:
    finding = {**GREEN, "title": text, "id": text, "state": text, "evidence": {"type": text, "row": text}}
    told = {"verdict": text, "identity": {"arn": text}, "cluster": {"version": text, "certificate_authority": text}}
    earlier = read_report(written(findings=[finding], **told))

    found = changes(earlier, read_report(written()))

    assert len(found) >= 5
    for shown in (part for change in found for part in (change.what, change.before, change.after)):
        assert shown.isascii()
        assert shown.isprintable() or shown == ""
        assert len(shown) <= 10_000


def test_an_earlier_report_is_printed_without_what_steers(
    eks_sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del eks_sandbox
    file = tmp_path / "e\x1b[31mvil.json"
    file.write_bytes(written(findings=[{**GREEN, "title": HOSTILE}], cluster={"certificate_authority": "\ud800"}))

    assert main([*CHECK, "--compare", str(file)]) == 0

    out = capsys.readouterr().out
    assert "<script>alert(1)</script>\\x1b[31m\\x202e" in out
    assert all(line.isprintable() for line in out.split("\n"))


def test_what_has_changed_is_in_the_json_too(
    eks_sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "good.json"
    file.write_text(json_of(capsys))
    eks_sandbox.cluster().version = "1.35"

    assert main([*CHECK, "--compare", str(file), "--output", "json"]) == 0

    document = json.loads(capsys.readouterr().out)
    assert {"what": "cluster version", "before": "1.34", "after": "1.35"} in document["changes"]


LONG = f"arn:aws:iam::222222222222:role/{'path/' * 12}cross-account-role"


def test_on_a_terminal_a_long_arn_that_is_well_loses_its_middle_and_keeps_account_and_name() -> None:
    report = Report("c", "eu-west-1", (Finding("hop", "PASS", "aws", "hop 1 of 1", LONG),))

    narrow = report.to_text(width=60)

    assert max(map(len, narrow.splitlines())) <= 60
    assert "arn:aws:iam::222222222222:role/..." in narrow
    assert "cross-account-role" in narrow
    assert LONG in "".join(line.strip() for line in report.to_text().splitlines())


def test_on_a_terminal_what_fits_a_line_is_whole() -> None:
    arn = "arn:aws:iam::222222222222:role/r"
    report = Report("c", "eu-west-1", (Finding("hop", "PASS", "aws", "hop 1 of 1", arn),))

    assert arn in report.to_text(width=60)


def test_what_is_broken_is_whole_on_a_terminal_too() -> None:
    """It is to be copied."""
    report = Report("c", "eu-west-1", (Finding("assume-role-denied", "FAIL", "aws", "hop 1 of 1", LONG),))

    assert LONG in "".join(line.strip() for line in report.to_text(width=60).splitlines())
