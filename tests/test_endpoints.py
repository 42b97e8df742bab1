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


FORMS = {
    "plain": {},
    "fips": {"fips": True},
    "dual-stack": {"dual_stack": True},
    "FIPS dual-stack": {"fips": True, "dual_stack": True},
}
STS_NAMES = [
    ("us-west-2", "plain", "sts.us-west-2.amazonaws.com"),
    ("us-west-2", "fips", "sts-fips.us-west-2.amazonaws.com"),
    ("us-west-2", "dual-stack", "sts.us-west-2.api.aws"),
    ("us-west-2", "FIPS dual-stack", "sts-fips.us-west-2.api.aws"),
    ("us-gov-west-1", "plain", "sts.us-gov-west-1.amazonaws.com"),
    ("us-gov-west-1", "fips", "sts.us-gov-west-1.amazonaws.com"),  # GovCloud's plain name is the FIPS one
    ("us-gov-west-1", "dual-stack", "sts.us-gov-west-1.api.aws"),
    ("us-gov-west-1", "FIPS dual-stack", "sts-fips.us-gov-west-1.api.aws"),
    ("cn-north-1", "plain", "sts.cn-north-1.amazonaws.com.cn"),
    ("cn-north-1", "fips", "sts-fips.cn-north-1.amazonaws.com.cn"),
    ("cn-north-1", "dual-stack", "sts.cn-north-1.api.amazonwebservices.com.cn"),
    ("cn-north-1", "FIPS dual-stack", "sts-fips.cn-north-1.api.amazonwebservices.com.cn"),
    ("eusc-de-east-1", "plain", "sts.eusc-de-east-1.amazonaws.eu"),
    ("eusc-de-east-1", "fips", "sts-fips.eusc-de-east-1.amazonaws.eu"),
    ("eusc-de-east-1", "dual-stack", "sts.eusc-de-east-1.api.amazonwebservices.eu"),
    ("eusc-de-east-1", "FIPS dual-stack", "sts-fips.eusc-de-east-1.api.amazonwebservices.eu"),
    ("us-iso-east-1", "plain", "sts.us-iso-east-1.c2s.ic.gov"),
    ("us-iso-east-1", "fips", "sts-fips.us-iso-east-1.c2s.ic.gov"),
    ("us-isob-east-1", "plain", "sts.us-isob-east-1.sc2s.sgov.gov"),
    ("us-isob-east-1", "fips", "sts-fips.us-isob-east-1.sc2s.sgov.gov"),
    ("eu-isoe-west-1", "plain", "sts.eu-isoe-west-1.cloud.adc-e.uk"),
    ("eu-isoe-west-1", "fips", "sts-fips.eu-isoe-west-1.cloud.adc-e.uk"),
    ("us-isof-south-1", "plain", "sts.us-isof-south-1.csp.hci.ic.gov"),
    ("us-isof-south-1", "fips", "sts-fips.us-isof-south-1.csp.hci.ic.gov"),
    ("eu-west-9", "plain", "sts.eu-west-9.amazonaws.com"),
]


@pytest.mark.parametrize(("region", "form", "host"), STS_NAMES, ids=[f"{row[0]} {row[1]}" for row in STS_NAMES])
def test_the_host_is_the_regional_one(region: str, form: str, host: str) -> None:
    assert endpoints.sts_host(region, **FORMS[form]) == host
    assert endpoints.region_of_sts_host(host) == region


@pytest.mark.parametrize("form", ["dual-stack", "FIPS dual-stack"])
@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("us-iso-east-1", "aws-iso"),
        ("us-isob-east-1", "aws-iso-b"),
        ("eu-isoe-west-1", "aws-iso-e"),
        ("us-isof-south-1", "aws-iso-f"),
    ],
)
def test_a_partition_without_a_dual_stack_name_that_eks_takes_has_none(region: str, partition: str, form: str) -> None:
    with pytest.raises(UnknownRegionError, match=f"^partition {partition} has no {form} STS host that EKS accepts"):
        endpoints.sts_host(region, **FORMS[form])


@pytest.mark.parametrize(
    ("region", "partition", "known"),
    [
        ("eu-west-1", "aws", True),
        ("us-gov-east-1", "aws-us-gov", True),
        ("cn-northwest-1", "aws-cn", True),
        ("us-iso-west-1", "aws-iso", True),
        ("us-isob-east-1", "aws-iso-b", True),
        ("eu-isoe-west-1", "aws-iso-e", True),
        ("us-isof-south-1", "aws-iso-f", True),
        ("eusc-de-east-1", "aws-eusc", True),
        ("eu-west-9", "aws", False),
        ("us-gov-east-9", "aws-us-gov", False),
        ("cn-north-9", "aws-cn", False),
        ("us-iso-east-9", "aws-iso", False),
        ("us-isob-east-9", "aws-iso-b", False),
        ("eu-isoe-west-9", "aws-iso-e", False),
        ("us-isof-south-9", "aws-iso-f", False),
        ("eusc-de-east-9", "aws-eusc", False),
    ],
)
def test_a_region_is_of_one_partition_by_name_or_by_form(region: str, partition: str, known: bool) -> None:  # noqa: FBT001 - a table
    assert endpoints.partition_of(region) == partition
    assert endpoints.is_known_region(region) is known


@pytest.mark.parametrize(
    "region",
    [
        "us-east-1.evil.com", "x@evil", "us-east-1\r\nHost: x", "us-east-1\n", "eu-wést-1", "eu-west-\uff11", "",
        "aws-global", "US-EAST-1", "us-east-1/", "us_east_1", " us-east-1", "eu-west-" + "1" * 80, "global",
        "aws-cn-global", "xx-west-1", "us-west", "us-west-2a", "us-east-1:443", "us-east-1#", "us-east-1?",
        "us-east-1\x00", "eu-west-1\u202e", "eu-w\u200best-1",
    ],
)  # fmt: skip
def test_what_could_become_another_host_is_no_region(region: str) -> None:
    with pytest.raises(UnknownRegionError) as raised:
        endpoints.partition_of(region)

    assert str(raised.value).isascii()
    assert "\n" not in str(raised.value)
    assert not endpoints.is_known_region(region)


@pytest.mark.parametrize(
    ("region", "verdict"), [("cn-north-1", None), ("us-west-2", "host"), ("a b", "host"), (None, "host")]
)
def test_a_host_that_no_sdk_makes_counts_in_the_servers_own_region_alone(
    region: str | None, verdict: str | None
) -> None:
    found = endpoints.host_violation("sts.cn-north-1.amazonaws.com", partition="aws", region=region)

    assert found == verdict


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
    assert endpoints.known_sts_host(host) == (host if known else None)


@pytest.mark.parametrize("host", ["sts.amazonaws.com", "sts.eu-west-1.amazonaws.com", "sts-fips.us-west-2.api.aws"])
def test_the_host_that_is_sent_to_is_text_of_our_own_and_not_of_the_token(host: str) -> None:
    of_the_token = "".join(host)  # equal to the literal above, yet another object

    literal = endpoints.known_sts_host(of_the_token)

    assert literal == host
    assert literal is not of_the_token


def test_the_packaged_data_is_what_the_script_makes_of_botocore() -> None:
    header = (_partitions.__doc__ or "").split("from botocore ")[1].split(".")[:3]
    installed = version("botocore")
    if [int(part) for part in installed.split(".")] < [int(part.split()[0]) for part in header]:
        pytest.skip(f"botocore {installed} is older than the packaged data")

    script = subprocess.run([sys.executable, ROOT / "scripts/partitions"], capture_output=True, text=True, check=True)

    packaged = (ROOT / "src/eks_cross_account/_partitions.py").read_text()
    assert script.stdout.splitlines()[3:] == packaged.splitlines()[3:]


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("0A1B.gr7.eu-west-1.eks.amazonaws.com", "eu-west-1"),
        ("0A1B.SK1.EU-WEST-1.EKS.AMAZONAWS.COM", "eu-west-1"),
        ("0A1B.yl4.us-gov-west-1.eks.amazonaws.com", "us-gov-west-1"),
        ("0A1B.sk1.cn-north-1.eks.amazonaws.com.cn", "cn-north-1"),
        ("0A1B.cn-north-1.amazonwebservices.com.cn", "cn-north-1"),
        ("0A1B.eusc-de-east-1.eks.amazonaws.eu", "eusc-de-east-1"),
        ("0A1B.us-iso-east-1.eks.c2s.ic.gov", "us-iso-east-1"),
        ("analytics.eu-west-1.api.aws", "eu-west-1"),  # IPv6
        ("analytics.cn-north-1.api.amazonwebservices.com.cn", "cn-north-1"),
        ("0A1B.gr7.eu-west-9.eks.amazonaws.com", "eu-west-9"),  # newer than our data
        ("0A1B.gr7.eu-west-1.eks.evil.com", None),
        ("0A1B.gr7.eu-west-1.eks.amazonaws.com.evil.com", None),
        ("0A1B.gr7.eu-west-1.eks.amazonaws.com.cn", None),  # another partition's
        ("0A1B.gr7.cn-north-1.eks.amazonaws.com", None),
        ("0A1B.gr7.nowhere.eks.amazonaws.com", None),
        ("0A1B.aws-global.eks.amazonaws.com", None),
        ("eu-west-1.eks.amazonaws.com", None),  # no cluster's
        ("127.0.0.1", None),
        ("", None),
    ],
)
def test_the_region_is_read_out_of_eks_own_names_only(host: str, region: str | None) -> None:
    assert endpoints.region_of_cluster_host(host) == region
