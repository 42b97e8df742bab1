"""A token is a value: it does not change, is equal to its like, can be copied, and is not shown."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime, timedelta

import pytest

from eks_cross_account import EksToken, _gourl

UNTIL = datetime(2026, 2, 3, 4, 19, 6, tzinfo=UTC)
TOKEN = EksToken("k8s-aws-v1.aHR0cHM", UNTIL)


def test_it_does_not_change() -> None:
    with pytest.raises(AttributeError, match="does not change: value"):
        TOKEN.value = "other"
    with pytest.raises(AttributeError, match="does not change: expiration"):
        del TOKEN.expiration

    assert TOKEN.value == "k8s-aws-v1.aHR0cHM"
    assert TOKEN.expiration == UNTIL


def test_it_is_equal_to_its_like_alone() -> None:
    same = EksToken("k8s-aws-v1.aHR0cHM", UNTIL)

    assert same == TOKEN
    assert hash(TOKEN) == hash(same)
    assert len({TOKEN, same}) == 1
    assert EksToken("k8s-aws-v1.aHR0cHN", UNTIL) != TOKEN
    assert EksToken("k8s-aws-v1.aHR0cHM", UNTIL + timedelta(seconds=1)) != TOKEN
    assert TOKEN != ("k8s-aws-v1.aHR0cHM", UNTIL)
    assert hash(TOKEN) != hash(EksToken("k8s-aws-v1.aHR0cHN", UNTIL))


def test_a_copy_is_the_same() -> None:
    assert pickle.loads(pickle.dumps(TOKEN)) == TOKEN  # noqa: S301 - our own bytes
    assert copy.deepcopy(TOKEN) == TOKEN


def test_it_shows_when_it_ends_and_not_what_it_is() -> None:
    shown = "EksToken(expiration=datetime.datetime(2026, 2, 3, 4, 19, 6, tzinfo=datetime.timezone.utc))"

    assert repr(TOKEN) == str(TOKEN) == shown
    assert TOKEN.bearer == "Bearer k8s-aws-v1.aHR0cHM"


def test_a_query_has_no_more_parameters_than_go_reads() -> None:
    """No token is long enough for it; whoever calls it with something else is answered as by url.ParseQuery."""
    pairs, clean = _gourl.parse_query("&".join(["a"] * 10_000))

    assert (len(pairs), clean) == (10_000, True)
    assert _gourl.parse_query("&".join(["a"] * 10_001)) == ([], False)
