"""Writes tests/fuzz/corpus from tests/vectors: one input for each verdict that they have. Usage: make_corpus.py."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_HERE = Path(__file__).parent
_VECTORS = _HERE.parent / "vectors"


_LEAKY = {  # what a server may repeat, and a task may print
    "token-in-a-reason": 'pods "p" is forbidden: admission webhook "w.x" denied the request: {} is bad\n',
    "token-as-a-user": 'pods "p" is forbidden: User "{}" cannot get resource "pods" in API group "" in namespace "n"\n',
    "token-in-our-line": "[eks:forbidden] {}\n",
    "token-in-a-header": "{{'Authorization': 'Bearer {}'}}\nKeyError: 'canary'\n",
}


def main(folder: Path = _HERE / "corpus") -> None:
    """Write the files; those of another name stay, which are inputs that something was found by."""
    cases = json.loads((_VECTORS / "cases.json").read_text())["cases"]
    denials = json.loads((_VECTORS / "denials.json").read_text())
    pastes = _pastes(cases, denials)
    for kind, made in (("token", _tokens(cases)), ("aws_auth", _aws_auth(cases)), ("explain", pastes)):
        to = folder / kind
        to.mkdir(parents=True, exist_ok=True)
        for name, text in made:
            (to / re.sub(r"[^a-z0-9]+", "-", name.lower())[:60].strip("-")).write_bytes(text)


def _tokens(cases: list[dict]) -> Iterator[tuple[str, bytes]]:
    """The first token of each stage that refuses, with its text: the fuzzer changes the URL, not the base64."""
    seen: set[str] = set()
    for case in cases:
        stage = case.get("stage", "accepted")
        if case["kind"] != "token" or stage in seen:
            continue
        seen.add(stage)
        given = case["input"]
        yield case["id"], (given.get("url") or given["token"]).encode("utf-8", "surrogateescape")


def _aws_auth(cases: list[dict]) -> Iterator[tuple[str, bytes]]:
    seen: set[str] = set()
    for case in cases:
        for text in (case.get("server_config", {}).get("aws_auth") or {}).values():
            if text not in seen:
                seen.add(text)
                yield case["id"] + str(len(seen)), text.encode()


def _pastes(cases: list[dict], denials: dict) -> Iterator[tuple[str, bytes]]:
    token = next(case["input"]["token"] for case in cases if case["kind"] == "token" and case["expect"] == "accept")
    for name, paste in _LEAKY.items():
        yield name, paste.format(token).encode()
    kinds: set[str] = set()
    for status in denials["statuses"]:
        if status["denial"]["kind"] not in kinds:
            kinds.add(status["denial"]["kind"])
            yield status["id"], json.dumps(status["status"]).encode()
    for client in denials["clients"]:
        yield client["id"][-40:], client["text"].encode()


if __name__ == "__main__":
    main()
