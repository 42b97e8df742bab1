"""What is said of the newest releases that were seen to work: everywhere the same, and what the suite pins."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("apache-airflow-providers-amazon", "apache-airflow-providers-cncf-kubernetes", "kubernetes")


def pinned() -> dict[str, str]:
    """Of line ``newest``: what `scripts/suites/airflow newest` runs with, and prints when it has passed."""
    text = (ROOT / "requirements/airflow-newest.txt").read_text()
    found = dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", text, re.MULTILINE))
    return {package: found[package] for package in PACKAGES}


def test_the_page_about_mwaa_says_up_to_which_releases_it_is_known_good() -> None:
    shown = ", ".join(f"{package.removeprefix('apache-airflow-providers-')} {pin}" for package, pin in pinned().items())

    assert (ROOT / "docs/mwaa.md").read_text().count(f"known good up to {shown}.") == 1


def test_the_message_about_a_seam_that_has_gone_names_the_same() -> None:
    tree = ast.parse((ROOT / "src/eks_cross_account/airflow/_seams.py").read_text())  # Airflow is not installed here
    assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
    said = next(node.value for node in assigned if ast.unparse(node.targets[0]) == "KNOWN_GOOD")

    assert ast.literal_eval(said) == {package: pin for package, pin in pinned().items() if package != "kubernetes"}
