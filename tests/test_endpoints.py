from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from tokens import vectors

from eks_cross_account import _partitions, endpoints
from eks_cross_account.errors import UnknownRegionError

PARTITIONS = ("aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f", "aws-eusc")
HOSTS = vectors("host_matrix")["hosts"]
ROOT = Path(__file__).parents[1]


def test_the_partitions_are_those_of_the_verifier() -> None:
    assert sorted(endpoints.partition_names()) == sorted(PARTITIONS)
    assert endpoints.partition_names()[0] == "aws"


def test_the_host_matrix_is_whole() -> None:
    assert len(HOSTS) == 485


@pytest.mark.parametrize("partition", PARTITIONS)
def test_every_host_is_judged_as_the_verifier_judges_it(partition: str) -> None:
    wrong = [
        row["host"]
        for row in HOSTS
        if (endpoints.host_violation(row["host"], partition=partition, region=None) is None)
        != (partition in row["accepted_in_partitions"])
    ]

    assert wrong == []


@pytest.mark.parametrize(
    ("region", "options", "host"),
    [
        ("eu-west-1", {}, "sts.eu-west-1.amazonaws.com"),
        ("us-west-2", {"fips": True}, "sts-fips.us-west-2.amazonaws.com"),
        ("us-west-2", {"dual_stack": True}, "sts.us-west-2.api.aws"),
        ("us-west-2", {"fips": True, "dual_stack": True}, "sts-fips.us-west-2.api.aws"),
        ("us-gov-west-1", {}, "sts.us-gov-west-1.amazonaws.com"),
        ("us-gov-west-1", {"fips": True}, "sts.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", {}, "sts.cn-north-1.amazonaws.com.cn"),
        ("us-iso-east-1", {}, "sts.us-iso-east-1.c2s.ic.gov"),
        ("eusc-de-east-1", {}, "sts.eusc-de-east-1.amazonaws.eu"),
        ("eu-west-9", {}, "sts.eu-west-9.amazonaws.com"),
    ],
)
def test_the_host_is_the_regional_one(region: str, options: dict[str, bool], host: str) -> None:
    assert endpoints.sts_host(region, **options) == host
    assert endpoints.region_of_sts_host(host) == region


def test_a_partition_without_a_dual_stack_name_that_eks_takes_has_none() -> None:
    with pytest.raises(UnknownRegionError, match="aws-iso has no dual-stack STS host"):
        endpoints.sts_host("us-iso-east-1", dual_stack=True)


@pytest.mark.parametrize(
    "region",
    [
        "us-east-1.evil.com", "x@evil", "us-east-1\r\nHost: x", "us-east-1\n", "eu-wést-1", "eu-west-\uff11", "",
        "aws-global", "US-EAST-1", "us-east-1/", "us_east_1", " us-east-1", "eu-west-" + "1" * 80, "global",
    ],
)  # fmt: skip
def test_what_could_become_another_host_is_no_region(region: str) -> None:
    with pytest.raises(UnknownRegionError) as raised:
        endpoints.partition_of(region)

    assert str(raised.value).isascii()
    assert "\n" not in str(raised.value)
    assert not endpoints.is_known_region(region)


def test_the_global_host_is_signed_for_us_east_1() -> None:
    assert endpoints.region_of_sts_host("sts.amazonaws.com") == "us-east-1"


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("sts.eu-west-1.amazonaws.com", True),
        ("sts.amazonaws.com", True),
        ("sts.cn-north-1.amazonaws.com.cn", True),
        ("sts.eu-west-9.amazonaws.com", False),  # fits the pattern, which is no promise
        ("sts.s3.amazonaws.com", False),  # the verifier takes it
        ("sts.eu-west-1.amazonaws.com:443", False),
        ("STS.eu-west-1.amazonaws.com", False),
        ("sts.global.example.com", False),
        ("", False),
    ],
)
def test_only_hosts_of_known_regions_are_ever_sent_to(host: str, known: bool) -> None:  # noqa: FBT001 - a table
    literal = endpoints.known_sts_host(host)

    assert literal == (host if known else None)


def test_the_packaged_data_is_what_the_script_makes_of_botocore() -> None:
    header = (_partitions.__doc__ or "").split("from botocore ")[1].split(".")[:3]
    installed = version("botocore")
    if [int(part) for part in installed.split(".")] < [int(part.split()[0]) for part in header]:
        pytest.skip(f"botocore {installed} is older than the packaged data")

    script = subprocess.run([sys.executable, ROOT / "scripts/partitions"], capture_output=True, text=True, check=True)

    packaged = (ROOT / "src/eks_cross_account/_partitions.py").read_text()
    assert script.stdout.splitlines()[3:] == packaged.splitlines()[3:]
