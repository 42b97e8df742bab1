"""The code in README and docs is run, as it stands there, against the sandbox."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from clusters import SandboxCluster, collected, pod

import eks_cross_account
from eks_cross_account import diagnosis, errors, sandbox, token_signed_by, violations
from eks_cross_account.cli._main import _parser
from eks_cross_account.diagnosis._environment import DEFECTS
from eks_cross_account.diagnosis._ids import IDS
from eks_cross_account.rules import STS_RULES, VERIFIER_RULES
from eks_cross_account.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
TEXTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
PAGES = [page for page in TEXTS if "```python" in page.read_text()]


collected_here = pytest.fixture(collected)


@pytest.fixture
def _running_pod(eks_sandbox: Sandbox) -> None:
    """The pod `report-1`, which the pages look into."""
    SandboxCluster(eks_sandbox).ask("POST", "/api/v1/namespaces/data/pods", pod("report-1", run_seconds="600"))


@pytest.mark.usefixtures("_running_pod", "collected_here")
@pytest.mark.filterwarnings("default::DeprecationWarning")  # old releases of the clients, on newer Pythons
@pytest.mark.filterwarnings("default::PendingDeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # sockets of streams, as test_kubernetes
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_a_page_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        exec(compile(block, str(page), "exec"), names)  # noqa: S102 - our own pages

    for name, value in list(names.items()):
        if name.startswith("test_"):
            with Sandbox() as fresh, monkeypatch.context() as patch:
                for variable, setting in fresh.environ.items():
                    patch.setenv(variable, setting)
                value(fresh)


NOT_RUN = re.compile(
    r"^(?:<!-- not run(?: by tests/test_docs\.py)?: (?P<why>[^\n]{10,}) -->\n)?```py\n(?P<code>.*?)^```",
    re.DOTALL | re.MULTILINE,
)


def test_code_that_is_not_run_here_says_why_and_is_python() -> None:
    blocks = [
        (page, block)
        for page in TEXTS
        if page.name != "api.md"  # signatures
        for block in NOT_RUN.finditer(page.read_text())
    ]

    assert len(blocks) > 10
    for page, block in blocks:
        assert block["why"], f"{page.name}: {block['code']}"
        compile(block["code"], str(page), "exec")


# --- the tutorial, block by block


def test_the_tutorial_runs_as_it_stands(tmp_path: Path) -> None:
    """Every block in its order; what is installed and how AWS is started is taken apart from the rest."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "docs/first-token.md").read_text(), re.DOTALL | re.MULTILINE)
    (_, install), (_, start), *steps = blocks
    extras = re.search(r'"eks-cross-account\[(.*)\]"', install)
    assert extras is not None
    assert set(extras[1].split(",")) <= set(metadata("eks-cross-account").get_all("Provides-Extra") or ())
    (tmp_path / "try-eks/bin").mkdir(parents=True)
    (tmp_path / "try-eks/bin/activate").write_text("")  # the commands are there already
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    assert start == "eks-token-check sandbox >environ\n"
    with (tmp_path / "environ").open("w") as environ:
        sandbox = subprocess.Popen(
            [sys.executable, "-m", "eks_cross_account.cli", "sandbox"],
            stdout=environ,
            stderr=subprocess.PIPE,
            text=True,
        )
    with sandbox:
        assert sandbox.stderr is not None
        assert sandbox.stderr.readline().startswith("The sandbox runs")
        try:
            said = subprocess.run(
                ["/bin/bash", "-e"],
                input="".join(_as_shell(kind, block) for kind, block in steps if kind != "text"),
                env={**os.environ, "PATH": path},
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            sandbox.terminate()

    assert said.returncode == 0, said.stdout + said.stderr
    answers = [answer for answer in said.stdout.split(_NEXT) if answer]
    expected = [block for kind, block in steps if kind == "text"]
    assert len(answers) == len(expected) >= 5
    for answer, page in zip(answers, expected, strict=True):
        assert re.fullmatch(re.escape(page).replace(re.escape("...\n"), r"(?:.*\n)*?"), answer), answer


_NEXT = "--- next block\n"


def _as_shell(kind: str, block: str) -> str:
    """The Python of the page is a file there; an answer belongs to the block before it."""
    return f"cat >try.py <<'END'\n{block}END\n" if kind == "python" else f"{block}printf %s '{_NEXT}'\n"


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in (*TEXTS, ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"):
        for target, heading in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
            linked = page.parent / target if target else page
            assert linked.exists(), f"{page.name}: {target}"
            assert not heading or heading in headings(linked), f"{page.name}: {target}#{heading}"


def headings(page: Path) -> set[str]:
    """As GitHub links to them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_the_readme_has_the_five_names_in_eight_lines() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = [line for line in block.splitlines() if line]
    names = {called(node) for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)}

    assert len(lines) <= 8
    assert names >= {"get_token", "connect", "TokenProvider", "RoleHop", "diagnose"}


def test_the_thirty_lines_of_boto3_sign_as_we_do(eks_sandbox: Sandbox) -> None:
    (lines,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/how-it-differs.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(lines, names)  # noqa: S102 - our own page
    keys = eks_sandbox.issue_session("arn:aws:iam::222222222222:role/cross-account-role")
    session = boto3.Session(keys.access_key, keys.secret_key, keys.token)

    token = names["get_bearer_token"](session, "analytics", "eu-west-1")

    assert len(lines.splitlines()) <= 30
    assert token_signed_by(token, cluster_name="analytics", credentials=keys)
    assert not violations(token, now=datetime.now(UTC))


def test_the_api_page_and_the_picture_are_what_their_scripts_write() -> None:
    for script, page in (("api", "api.md"), ("chain", "chain.svg")):
        made = subprocess.run([sys.executable, ROOT / "scripts" / script], capture_output=True, text=True, check=True)

        assert (ROOT / "docs" / page).read_text() == made.stdout, f"scripts/{script} > docs/{page}"


def test_every_public_name_is_on_the_api_page() -> None:
    page = (ROOT / "docs/api.md").read_text()
    names = {*eks_cross_account.__all__, *diagnosis.__all__, *sandbox.__all__} - {"__version__"}

    assert names <= set(re.findall(r"^### `(\w+)`$", page, re.MULTILINE))


def rows_of(page: str, below: str) -> dict[str, list[str]]:
    """The table below this heading or text: its rows by their first cell."""
    text = (ROOT / page).read_text().partition(below)[2].partition("\n|")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines()]
    return {row[0]: row[1:] for row in rows[2:]}


def test_the_tables_of_mwaa_agree_with_each_other_and_with_the_requirements() -> None:
    ours = rows_of("README.md", "## What works where")
    stock = rows_of("docs/airflow.md", "**Stock `EksPodOperator` by MWAA version**")
    pins = rows_of("docs/mwaa.md", "Nothing that the file pins is changed.")
    tested = {path.stem.removeprefix("airflow-") for path in (ROOT / "requirements").glob("airflow-[0-9]*.txt")}

    assert list(ours) == list(stock) == list(pins)
    for line, (sync, deferrable, here) in ours.items():
        assert stock[line][0] == f"{pins[line][1]}, {pins[line][2]}"
        assert stock[line][1].startswith(sync.partition(":")[0])
        assert stock[line][2].startswith(deferrable.partition(",")[0])
        assert (here == "resolved only") == (line not in tested), line
    for line in tested:
        lock = (ROOT / f"requirements/airflow-{line}.txt").read_text()
        for package, pin in zip(("apache-airflow-providers-amazon", "apache-airflow-providers-cncf-kubernetes",
                                 "kubernetes", "kubernetes-asyncio"), pins[line][1:], strict=True):  # fmt: skip
            assert f"\n{package}=={pin}\n" in lock, (line, package)


def test_the_page_of_rules_lists_them_all_in_their_order() -> None:
    listed = re.findall(r"^\| `([a-z0-9_]+)` \| (verifier|sts) \|", (ROOT / "docs/rules.md").read_text(), re.MULTILINE)

    assert [rule for rule, _ in listed] == [*VERIFIER_RULES, *STS_RULES]
    assert all((judge == "sts") == rule.startswith("sts_") for rule, judge in listed)


def test_every_error_is_on_the_page_of_errors_with_its_attributes() -> None:
    page = (ROOT / "docs/errors.md").read_text()

    for name, error in vars(errors).items():
        if name.endswith("Error"):
            assert re.search(rf"─ {name}\b|^{name}\b", page, re.MULTILINE), "in the tree"
            assert name == "EksTokenError" or f"\n| `{name}` | " in page
            for attribute in vars(error()):
                assert f".{attribute}" in page, f"{name}.{attribute}"


def test_every_command_is_on_the_page_of_the_command() -> None:
    page = (ROOT / "docs/command.md").read_text()
    commands = next(action.choices for action in _parser()._actions if action.dest == "command")

    assert commands
    for command in commands:
        assert f"| `{command}" in page


# --- a page for each finding

FINDINGS = ROOT / "docs/findings"
Function = ast.FunctionDef | ast.AsyncFunctionDef
MAKERS = {"Finding", "Failure", "Explanation", "_known_by"}  # each takes the id first
# The first arguments that no table says: a rule's id; and ids that another of these calls, or somebody's paste, made
RULE = re.compile(r"f.token-\{(?:first|broken\[0\])\.rule\.replace\('_', '-'\)\}.")
MADE_ELSEWHERE = {
    "row.id",
    "ours[1]",
    "failure.id",
    "found.id",
    "explained.id",
    "line.removeprefix('[eks:').partition('] ')",
}


class Ids:
    """The ids that a module's calls of MAKERS can have, read from its source; AssertionError where one cannot be."""

    def __init__(self, path: Path) -> None:
        self.tree = ast.parse(path.read_text())
        self.functions = [node for node in ast.walk(self.tree) if isinstance(node, Function)]

    def all(self) -> Iterator[str]:
        for node in self.tree.body:
            yield from self.made_in(node)
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from re.findall(r"^\[eks:([a-z-]+)\]", node.value)

    def made_in(self, within: ast.AST, function: Function | None = None) -> Iterator[str]:
        for node in ast.iter_child_nodes(within):
            if isinstance(node, ast.Call) and called(node) in MAKERS and not is_fine(node):
                yield from self.of(node.args[0], function)
            yield from self.made_in(node, within if isinstance(within, Function) else function)

    def of(self, value: ast.expr, function: Function | None) -> Iterator[str]:
        """What the expression can be, where it stands in ``function``."""
        source = ast.unparse(value)
        if isinstance(value, ast.Constant):
            yield value.value
        elif isinstance(value, ast.IfExp):
            yield from (*self.of(value.body, function), *self.of(value.orelse, function))
        elif RULE.fullmatch(source):
            yield from (f"token-{rule.replace('_', '-')}" for rule in (*VERIFIER_RULES, *STS_RULES))
        elif source not in MADE_ELSEWHERE:
            assert isinstance(value, ast.Name), f"what ids can {source} have?"
            yield from self.of_name(value.id, function)

    def of_name(self, name: str, function: Function | None) -> Iterator[str]:
        """What is assigned to the name, in the function or else in the module; of a parameter what is passed."""
        for scope in (function, self.tree):
            found = [] if scope is None else list(self.assigned(name, scope))
            if found:
                for value, place in found:
                    yield from self.of(value, place)
                return
        assert function is not None, name
        parameters = [each.arg for each in function.args.args]
        assert name in parameters, f"where does {name} come from?"
        for caller in self.functions:
            for node in ast.walk(caller):
                if isinstance(node, ast.Call) and called(node) == function.name:
                    yield from self.of(node.args[parameters.index(name)], caller)

    def assigned(self, name: str, scope: ast.AST) -> Iterator[tuple[ast.expr, Function | None]]:
        place = scope if isinstance(scope, Function) else None
        for node in ast.walk(scope) if place else scope.body:  # type: ignore[attr-defined] # a module's
            if not isinstance(node, ast.Assign):
                continue
            target = node.targets[0]
            if isinstance(target, ast.Name) and target.id == name:
                yield node.value, place
            elif isinstance(target, ast.Tuple) and name in map(ast.unparse, target.elts):
                yield from self.parts(node.value, list(map(ast.unparse, target.elts)).index(name), place)

    def parts(self, value: ast.expr, index: int, place: Function | None) -> Iterator[tuple[ast.expr, Function | None]]:
        """The ``index``-th of a tuple; of each that a table of the module holds, or that a function of it returns."""
        if isinstance(value, ast.Subscript):
            table = next(self.assigned(ast.unparse(value.value), self.tree))[0]
            assert isinstance(table, ast.Dict), ast.unparse(table)
            for row in table.values:
                yield from self.parts(row, index, place)
        elif isinstance(value, ast.Call) and called(value) in {each.name for each in self.functions}:
            made = next(each for each in self.functions if each.name == called(value))
            for node in ast.walk(made):
                if isinstance(node, ast.Return) and node.value is not None:
                    yield from self.parts(node.value, index, made)
        elif isinstance(value, ast.Tuple):
            yield value.elts[index], place
        else:
            yield value, place


def called(call: ast.Call) -> str:
    return getattr(call.func, "id", "") or getattr(call.func, "attr", "")


def is_fine(call: ast.Call) -> bool:
    """Whether it makes a finding that is never anything but PASS or SKIP."""
    state = call.args[1] if called(call) == "Finding" else None
    return isinstance(state, ast.Constant) and state.value in {"PASS", "SKIP"}


def ids_in_the_code() -> set[str]:
    return {name for path in sorted((ROOT / "src").rglob("*.py")) for name in Ids(path).all()}


def test_every_finding_that_is_not_well_has_a_page_and_every_page_a_finding() -> None:
    assert {page.stem for page in FINDINGS.glob("*.md")} - {"README"} == ids_in_the_code() == IDS


def test_a_page_says_its_id_and_is_in_the_index_under_its_own_title() -> None:
    row = re.compile(r"^\| (.+?) \| \[`([a-z0-9-]+)`\]\(\2\.md\) \|$", re.MULTILINE)
    index = row.findall((FINDINGS / "README.md").read_text())
    titles = {name: texts for texts, name in index}

    assert len(index) == len(titles)
    for page in FINDINGS.glob("[!R]*.md"):
        title, _, rest = page.read_text().partition("\n")
        assert rest.startswith(f"\nId: `{page.stem}` ("), page.name
        assert title.removeprefix("# ") in titles.pop(page.stem), page.name
    assert titles == {}


def test_the_title_of_a_page_is_no_other_pages() -> None:
    titles = [page.read_text().partition("\n")[0] for page in FINDINGS.glob("[!R]*.md")]

    assert len(titles) == len(set(titles))


def test_mine_or_theirs_names_the_releases_that_the_check_warns_of() -> None:
    rows = (ROOT / "docs/mine-or-theirs.md").read_text().splitlines()

    for defect in DEFECTS:
        span = {f"{defect.first} to {defect.last}", f"{defect.first}, {defect.last}"}
        about = [row for row in rows if row.startswith(f"| `{defect.package}`")]
        assert any(f"| {each} |" in row for row in about for each in span), defect
