"""Text from outside steers no terminal, wherever it is shown."""

from __future__ import annotations

import pytest

from eks_cross_account._printable import printable, printable_line, printable_message, printable_page

HOSTILE = "a\x1b[31m\u202e\x07\t\u0430"


def test_a_value_is_quoted_and_cut() -> None:
    assert printable("a\x1b[31m\u202e") == "'a\\x1b[31m\\u202e'"
    assert printable("x" * 100) == "'" + "x" * 57 + "...'"


@pytest.mark.parametrize("show", [printable_message, printable_line, printable_page])
def test_what_is_not_printable_ascii_is_escaped(show: object) -> None:
    assert callable(show)
    assert show(HOSTILE) == "a\\x1b[31m\\x202e\\x07\\x09\\x430"


def test_a_sentence_ends_at_its_first_line_because_aws_quotes_requests_after_it() -> None:
    assert printable_message("no\nGET /?X-Amz-Signature=1") == "no"
    assert printable_message("x" * 1000) == "x" * 300


def test_a_line_keeps_all_and_a_page_its_lines() -> None:
    assert printable_line("a\nb\r" + "x" * 400) == "a b\\x0d" + "x" * 400
    assert printable_page("a\nb\x1bc\n") == "a\nb\\x1bc"
