"""``--help`` teaches by examples, which are run here as they stand, by bash, against the sandbox."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from clusters import SandboxCluster, pod

from eks_cross_account.cli import main
from eks_cross_account.cli._main import _COMMANDS, _EXAMPLES

if TYPE_CHECKING:
    from eks_cross_account.sandbox import Sandbox

SOURCE = Path(__file__).parents[1] / "src"
OURS = f'#!/bin/sh\nexec {sys.executable} -m eks_cross_account.cli "$@"\n'
OTHERS = {
    "aws": '#!/bin/sh\n[ "$1 $2" = "eks get-token" ] || exit 9\nshift 2\nexec eks-token-check token "$@"\n',
    "kubectl": """#!/bin/sh
case "$*" in
"get pods") echo 'Error from server (Forbidden): pods is forbidden: User "u" cannot list resource "pods" in API group
"" in the namespace "data"' >&2 ;;
"apply -f -") grep -q '^kind: Role$' ;;
"config "*) IFS=:; for file in $KUBECONFIG; do [ ! -e "$file" ] || cat "$file"; done ;;
*) exit 9 ;;
esac
""",
}
NEEDS_AIRFLOW, ENDLESS = "--airflow-conn-id", "eks-token-check sandbox"  # tests/airflow/test_command.py; test_cli.py


def lines_of(examples: str) -> list[str]:
    """The commands: a line that ends in a backslash or a pipe goes on."""
    text = re.sub(r"(\\|(?<=\|))\n\s+", " ", examples.removeprefix("examples:\n"))
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def test_every_command_has_examples_that_fit_a_terminal() -> None:
    assert tuple(_EXAMPLES) == _COMMANDS
    for examples in _EXAMPLES.values():
        assert max(map(len, examples.splitlines())) < 80
        assert len([line for line in lines_of(examples) if not line.startswith("ROLE=")]) in range(2, 6)


@pytest.mark.parametrize("command", _COMMANDS)
def test_the_help_of_a_command_ends_in_its_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0

    shown = capsys.readouterr().out
    assert shown.endswith("\n\n" + _EXAMPLES[command])
    assert max(map(len, shown.splitlines())) < 80


@pytest.fixture
def shell(eks_sandbox: Sandbox, tmp_path: Path) -> Any:
    """Runs lines in one bash in a folder with what the examples name; each line's exit code, and all that was said."""
    (tmp_path / "bin").mkdir()
    for name, text in {"eks-token-check": OURS, **OTHERS}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    home = tmp_path / "home"
    (home / ".local/share/bash-completion/completions").mkdir(parents=True)
    environ = {**os.environ, **eks_sandbox.environ, "PYTHONPATH": str(SOURCE), "HOME": str(home),
               "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}  # fmt: skip

    def run(*lines: str) -> tuple[list[int], str]:
        script = "\n".join(f"{line}\necho $? >> codes" for line in lines)
        done = subprocess.run(["bash", "-c", f"set -o pipefail\n{script}"], env=environ, cwd=tmp_path, text=True,  # noqa: S607
                              capture_output=True, timeout=55, check=False)  # fmt: skip
        return [int(code) for code in (tmp_path / "codes").read_text().split()], done.stdout + done.stderr

    SandboxCluster(eks_sandbox).ask("POST", "/api/v1/namespaces/data/pods", pod("p1"))
    (tmp_path / "task.log").write_text("[2026-01-01] error: You must be logged in to the server (Unauthorized)\n")
    codes, said = run("eks-token-check token --cluster-name analytics > token.txt")
    assert codes == [0], said
    (tmp_path / "codes").unlink()
    return run


@pytest.mark.parametrize("command", _COMMANDS)
def test_the_examples_of_a_command_do_what_they_say(shell: Any, tmp_path: Path, command: str) -> None:
    if command == "completions":
        pytest.importorskip("shtab")
    lines = [line for line in lines_of(_EXAMPLES[command]) if NEEDS_AIRFLOW not in line and line != ENDLESS]

    codes, said = shell(*lines)

    # who asks here is not the owner, and may not see access entries
    assert codes == [3 if "--principal-arn" in line else 0 for line in lines], said
    assert "Traceback" not in said
    if command == "kubeconfig":
        assert "eks_cross_account.cli" in (tmp_path / "joined.kubeconfig").read_text()
    if command == "sandbox":
        assert max(map(len, said.partition("cluster analytics, region")[0].splitlines())) <= 80
    if command == "explain":
        assert "[forbidden]" in said
        assert "[unauthorized]" in said


# --- completions


def completed(shell: str, script: str, words: str) -> list[str]:
    """What bash offers after these words."""
    code = f"""{script}
COMP_WORDS=({words} "") ; COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_LINE="{words} "; COMP_POINT=${{#COMP_LINE}}
_shtab_eks_token_check; printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run([shell, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.split()


def test_bash_completes_commands_and_flags(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    assert main(["completions", "bash"]) == 0
    script = capsys.readouterr().out

    assert set(_COMMANDS) <= set(completed("bash", script, "eks-token-check"))
    assert completed("bash", script, "eks-token-check check --output") == ["text", "json", "html"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_is_one(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    shtab = pytest.importorskip("shtab")
    if shell not in shtab.SUPPORTED_SHELLS or shutil.which(shell) is None:
        pytest.skip(f"no {shell} here, or in this shtab")
    assert main(["completions", shell]) == 0
    script = capsys.readouterr().out

    done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, timeout=20, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert "kubeconfig" in script


def test_without_shtab_it_says_in_a_line_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)

    assert main(["completions", "bash"]) == 2

    caught = capsys.readouterr()
    assert caught.out == ""
    assert caught.err == ('eks-token-check: completions need shtab: pip install "eks-cross-account[completions]"\n')


def test_token_shows_its_help_on_stdout(tmp_path: Path) -> None:
    environ = {"PYTHONPATH": str(SOURCE), "PATH": os.environ["PATH"], "HOME": str(tmp_path)}

    done = subprocess.run([sys.executable, "-m", "eks_cross_account.cli", "token", "--help"], env=environ,
                          capture_output=True, text=True, timeout=50, check=True)  # fmt: skip

    assert done.stdout.startswith("usage: eks-token-check token ")
    assert done.stderr == ""
