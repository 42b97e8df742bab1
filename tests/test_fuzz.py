"""The corpus of scripts/suites/fuzz holds what must hold for any bytes, without a fuzzer."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz import make_corpus
from fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "fuzz" / "corpus"
FILES = sorted(CORPUS.glob("*/*"))
READS = {"token": ("decode", "violations"), "explain": ("explain",), "aws_auth": ("aws_auth",)}


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_what_must_hold_for_any_bytes_holds_for_the_corpus(file: Path) -> None:
    for target in READS[file.parent.name]:
        TARGETS[target](file.read_bytes())


def test_the_corpus_is_that_of_the_vectors(tmp_path: Path) -> None:
    make_corpus.main(tmp_path)

    made = {file.relative_to(tmp_path): file.read_bytes() for file in tmp_path.glob("*/*")}
    assert len(made) == 69
    assert made.items() <= {file.relative_to(CORPUS): file.read_bytes() for file in FILES}.items()
