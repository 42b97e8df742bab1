"""The command ``eks-token-check``: parse, gather, judge, render, exit code. The one room that prints."""

from __future__ import annotations

from eks_cross_account.cli._main import main

__all__ = ["main"]
