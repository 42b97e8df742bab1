"""Where this program runs: installed versions and their known defects, names of variables, the clock. Asks nobody.

Of environment variables only the names are kept: their values may be keys.
"""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

PACKAGES = (
    "boto3",
    "botocore",
    "kubernetes",
    "kubernetes_asyncio",
    "apache-airflow",
    "apache-airflow-providers-amazon",
    "apache-airflow-providers-cncf-kubernetes",
)
_NAMES = re.compile(r"AWS_[A-Z0-9_]+|KUBECONFIG|(?:HTTPS?|NO|ALL)_PROXY|(?:REQUESTS|SSL)_[A-Z_]+", re.IGNORECASE)
_SHAPE = re.compile(r"[A-Za-z0-9_]{1,80}")


@dataclass(frozen=True, slots=True)
class Defect:
    """A known defect of releases from ``first`` to ``last``, both included. ``cause``: as docs/causes.md has it.

    ``airflow``: the Airflow from which on it shows.
    """

    package: str
    first: str
    last: str
    cause: str
    text: str
    airflow: str = "0"


# As the releases themselves have it; docs/mine-or-theirs.md has the same rows, and what to take instead
DEFECTS = (
    Defect("kubernetes", "36.0.0", "36.0.1", "U1",
           'sends no token that was put into api_key["authorization"], where load_kube_config of 36.0.0 puts it'),
    Defect("kubernetes", "36.0.2", "36.0.3", "U24",
           'drops the prefix "Bearer" that was put into api_key_prefix["authorization"]'),
    Defect("apache-airflow-providers-amazon", "8.7.0", "9.21.0", "U26",
           "EksPodOperator writes a kubeconfig of v1alpha1, which kubectl refuses"),
    Defect("apache-airflow-providers-amazon", "9.9.0", "9.12.0", "U16",
           "on Airflow 3 EksPodOperator signs with the worker's own role and not with the connection's", airflow="3"),
    Defect("apache-airflow-providers-amazon", "9.9.0", "9.29.0", "U3",
           "a line on stderr after the token takes the token's place in EksPodOperator's kubeconfig"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Environment:
    """``versions``: (package, version) of what is installed; ``variables``: names only; ``mwaa``: seems to be one."""

    python: str = ""
    versions: tuple[tuple[str, str], ...] = ()
    variables: tuple[str, ...] = ()
    mwaa: bool = False

    @property
    def defects(self) -> tuple[Defect, ...]:
        """Those of the installed versions."""
        airflow = _release(dict(self.versions).get("apache-airflow", "0"))
        return tuple(
            defect
            for package, installed in self.versions
            for defect in defects_of(package, installed)
            if _release(defect.airflow) <= airflow
        )


@dataclass(frozen=True, slots=True)
class ClockEvidence:
    """By how many seconds the clock of ``whose`` is ahead of this machine's; to a second, and to the answer's delay."""

    whose: str
    ahead: float


def environment(environ: Mapping[str, str] | None = None) -> Environment:
    """That of this process."""
    found = os.environ if environ is None else environ
    return Environment(
        python=platform.python_version(),
        versions=tuple(_installed()),
        variables=tuple(sorted(name for name in found if _NAMES.fullmatch(name) and _SHAPE.fullmatch(name))),
        mwaa=any(name.startswith("MWAA_") for name in found),  # as its image sets (aws/amazon-mwaa-docker-images)
    )


def defects_of(package: str, installed: str) -> tuple[Defect, ...]:
    """The known defects of this release."""
    release = _release(installed)
    return tuple(
        defect
        for defect in DEFECTS
        if defect.package == package and _release(defect.first) <= release <= _release(defect.last)
    )


def clock(whose: str, date: str, here: datetime) -> ClockEvidence | None:
    """The clock behind a Date header that was read at ``here``; None where it is none."""
    try:
        there = parsedate_to_datetime(date)
        return ClockEvidence(whose, (there - here).total_seconds())
    except (ValueError, TypeError):  # no date, or one without a zone
        return None


def _installed() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            found = version(package)
        except PackageNotFoundError:
            continue
        if found:  # what is left of a removed package has metadata without a version
            yield package, found


def _release(text: str) -> tuple[int, ...]:
    """The numbers that a version begins with; of 9.12.0rc1 those of 9.12.0."""
    match = re.match(r"[0-9]+(?:\.[0-9]+)*", text)
    return tuple(map(int, match[0].split("."))) if match else ()
