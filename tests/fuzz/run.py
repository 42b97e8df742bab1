"""One target under atheris until the time is over. Usage: run.py TARGET [arguments of libFuzzer]."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["eks_cross_account", "yaml"]):
    import yaml  # noqa: F401 - what PyYAML's scanner does is looked at too
    from targets import TARGETS


def main() -> None:
    """Fuzz; libFuzzer ends the process."""
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


main()
