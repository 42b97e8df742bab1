"""The rooms of the package, in the order in which they may import each other, and which of them are pure.

tests/test_architecture.py holds the code to it; scripts/coverage asks for every branch of the pure ones.
"""

from __future__ import annotations

from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "eks_cross_account"
ROOMS = (
    "_printable", "errors", "_partitions", "endpoints", "_gourl", "_goyaml", "token", "rules", "identity", "mapping",
    "_discretion", "_flight", "_botocore_data", "credentials", "provider", "sts", "cluster", "kubernetes",
    "diagnosis", "airflow", "sandbox", "cli",
)  # fmt: skip
PURE = ROOMS[: ROOMS.index("_discretion")]
PURE_FILES = {  # in a room that is not pure as a whole
    "diagnosis/_access_policies.py", "diagnosis/_terraform.py", "diagnosis/forbidden.py", "diagnosis/manifests.py",
    "diagnosis/needs.py", "diagnosis/remedies.py", "diagnosis/report.py",
}  # fmt: skip


def room(file: Path) -> str:
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def is_pure(file: Path) -> bool:
    return room(file) in PURE or file.relative_to(SOURCE).as_posix() in PURE_FILES


if __name__ == "__main__":  # for scripts/coverage
    print(",".join(sorted(str(file.relative_to(SOURCE.parents[1])) for file in SOURCE.rglob("*.py") if is_pure(file))))  # noqa: T201
