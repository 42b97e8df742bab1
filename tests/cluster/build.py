"""Builds the programs of a Kubernetes cluster from their Go modules, once per version, into a cache outside the tree.

Each folder here with a go.mod pins one program's modules; its go.sum says what they must be. A program is built again
when either changes, or its own source, or Go.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shutil import which

HERE = Path(__file__).parent
ENVIRON = dict(os.environ)  # of the run: a test has another HOME, where Go would begin with nothing
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eks-cross-account" / "cluster"
KUBERNETES = "1.36.3"
AUTHENTICATOR = "0.7.18"
_VERSION = "k8s.io/component-base/version"
_STAMP = f"-s -w -X {_VERSION}.gitVersion=v{KUBERNETES} -X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor=36"
_PLAIN = "-s -w"


@dataclass(frozen=True)
class _Program:
    module: str  # the folder
    package: str
    flags: str = _PLAIN


PROGRAMS = {
    "etcd": _Program("etcd", "go.etcd.io/etcd/server/v3"),
    "kube-apiserver": _Program("kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver", _STAMP),
    "kubectl": _Program("kubernetes", "k8s.io/kubernetes/cmd/kubectl", _STAMP),
    "aws-iam-authenticator": _Program("authenticator", "sigs.k8s.io/aws-iam-authenticator/cmd/aws-iam-authenticator"),
    "kwok": _Program("kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    "oracle": _Program("oracle", "."),
}


class NoGoError(Exception):
    """There is no Go on this machine: nothing can be built."""


@cache
def go_version() -> str:
    """Such as ``go1.26.8``. Raises NoGoError."""
    if which("go") is None:
        raise NoGoError("the real cluster is built from source and there is no Go here (go.dev/doc/install)")
    shown = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=True, env=ENVIRON)  # noqa: S607 - the user's
    return shown.stdout.strip()


def binary(name: str) -> Path:
    """The program's file, built if it is not in the cache. Builds of several processes at once wait for each other.

    Raises NoGoError, and CalledProcessError for a build that failed.
    """
    program = PROGRAMS[name]
    folder = HERE / program.module
    digest = hashlib.sha256(f"{go_version()} {program}".encode())
    for file in sorted([folder / "go.mod", folder / "go.sum", *folder.glob("*.go")]):
        digest.update(file.read_bytes())
    CACHE.mkdir(parents=True, exist_ok=True)
    cached = CACHE / f"{name}-{digest.hexdigest()[:16]}"
    if not cached.exists():
        with (CACHE / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not cached.exists():
                _build(program, cached)
    return cached


def _build(program: _Program, file: Path) -> None:
    unfinished = file.with_suffix(f".{os.getpid()}")
    command = ["go", "build", "-mod=readonly", "-ldflags", program.flags, "-o", str(unfinished), program.package]
    try:
        subprocess.run(command, cwd=HERE / program.module, env=ENVIRON, check=True)
        unfinished.rename(file)
    finally:
        unfinished.unlink(missing_ok=True)


if __name__ == "__main__":
    for each in PROGRAMS:
        print(f"{each}: {binary(each).stat().st_size >> 20} MiB", flush=True)  # noqa: T201
