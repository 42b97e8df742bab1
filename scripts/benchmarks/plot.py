"""docs/benchmarks.png: what AWS is asked, and memory, over the number of deferred pods. Run by scripts/bench."""

from __future__ import annotations

import json
import sys

import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot as plt

OURS, PEER = "#0969da", "#bc4c00"


def main(file: str) -> None:
    told = json.load(sys.stdin)
    figure, (calls, memory) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for whose, color in (("ours", OURS), ("EksPodTrigger", PEER)):
        rows = told[whose]
        pods = [row["pods"] for row in rows]
        calls.plot(pods, [row["sts"] for row in rows], "o-", color=color, label=whose)
        memory.plot(pods, [row["memory"] for row in rows], "o-", color=color, label=f"{whose}, the triggerer alone")
    calls.set(xscale="log", yscale="log", xlabel="deferred pods in one triggerer", ylabel="STS calls", ylim=(0.5, None))
    memory.set(xscale="log", xlabel="deferred pods in one triggerer", ylabel="MiB", ylim=(0, None))
    for axes in (calls, memory):
        axes.legend(fontsize=8)
    for axes in (calls, memory):
        axes.grid(alpha=0.3)
    figure.savefig(file, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main(sys.argv[1])
