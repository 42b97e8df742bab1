"""Partitions, regions, STS host names, and the verifier's rules for a host. Touches packaged data only.

``token`` (what may be signed for) and ``rules`` (what will be refused) both ask here, so that the two cannot
disagree. The host never comes from client configuration: a configured endpoint URL is a host that the verifier
refuses (facts U6).
"""

from __future__ import annotations

import re
from functools import lru_cache

from eks_cross_account._partitions import PARTITIONS, Partition
from eks_cross_account._printable import printable
from eks_cross_account.errors import UnknownRegionError

GLOBAL_STS_HOST = "sts.amazonaws.com"
GLOBAL_STS_REGION = "us-east-1"  # what botocore and the Go SDK put into the scope for the global host

# validateInputRegion of the verifier, from aws-sdk-go v1's v3model.go
_REGION_LABEL = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z-]*[0-9A-Za-z])?")
_DNS_LABEL = 63  # RFC 1035
_FEW_LABELS = 3  # getStsRegion wants the second of at least three labels
_BY_NAME = {partition.name: partition for partition in PARTITIONS}
_EXPLICIT = {region: partition for partition in PARTITIONS for region in partition.regions}


def partition_names() -> tuple[str, ...]:
    """Every partition the verifier knows, ``aws`` first."""
    return tuple(_BY_NAME)


def is_known_region(region: str) -> bool:
    """Whether our data lists the region. Only to those is a foreign token ever sent."""
    return region in _EXPLICIT and not region.endswith("-global")  # aws-global and its like are not regions


def partition_of(region: str) -> str:
    """The partition of a region that is known or fits a partition's pattern (``eu-west-9``).

    Raises UnknownRegionError for anything else, so for everything that could turn into another host name.
    """
    if is_known_region(region):
        return _EXPLICIT[region].name
    fitting = _by_pattern(region)
    if fitting is None or not _REGION_LABEL.fullmatch(region) or len(region) > _DNS_LABEL:
        raise UnknownRegionError(
            f"{printable(region)} is not an AWS region: neither in the data of this release nor of any partition's "
            "form (eu-west-1, us-gov-west-1, cn-north-1 ...)"
        )
    return fitting.name


@lru_cache(maxsize=256)
def sts_host(region: str, *, fips: bool = False, dual_stack: bool = False) -> str:
    """The regional STS host name that the SDKs resolve and the verifier accepts in the region's partition.

    Raises UnknownRegionError: no such region, or the verifier refuses this form there (ISO partitions have no
    dual-stack name for it).
    """
    partition = partition_of(region)
    host = _sdk_host(region, fips=fips, dual_stack=dual_stack)
    if host_violation(host, partition=partition, region=None) is not None:
        form = _form(fips=fips, dual_stack=dual_stack)
        raise UnknownRegionError(f"partition {partition} has no {form} STS host that EKS accepts ({region})")
    return host


def sts_hosts(region: str) -> tuple[str, ...]:
    """The names that the SDKs resolve for STS of this region: plain, FIPS, dual-stack, both."""
    return _sdk_hosts(region)


def region_of_sts_host(host: str) -> str | None:
    """The region a request to this STS host is signed for; None where the host is none that ``sts_host`` builds."""
    if host == GLOBAL_STS_HOST:
        return GLOBAL_STS_REGION
    region = host.split(".")[1] if host.count(".") >= _FEW_LABELS else ""
    if not is_known_region(region) and _by_pattern(region) is None:
        return None
    return region if host in _sdk_hosts(region) else None


def known_sts_host(host: str) -> str | None:
    """The same name as a literal of our own data when it is STS of a *known* region, else None.

    The text that comes back is built here, so no byte of an untrusted token decides where a request goes.
    """
    if host == GLOBAL_STS_HOST:
        return GLOBAL_STS_HOST
    region = region_of_sts_host(host)
    if region is None or not is_known_region(region):
        return None
    return next(literal for literal in _sdk_hosts(region) if literal == host)


def region_of_cluster_host(host: str) -> str | None:
    """The region in the name that EKS gives an API server, else None: nothing is read out of a foreign name.

    ``ID.gr7.REGION.eks.amazonaws.com`` and its like of the other partitions; for IPv6 ``NAME.REGION.api.aws``. Source:
    the EKS user guide, "Cluster API server endpoint", which leaves out ``eks.`` for China.
    """
    labels = host.lower().split(".")
    for place in range(1, len(labels)):
        region, rest = labels[place], ".".join(labels[place + 1 :])
        fitting = _EXPLICIT.get(region) if is_known_region(region) else _by_pattern(region)
        if fitting is not None and rest in _cluster_suffixes(fitting):
            return region
    return None


def host_violation(host: str, *, partition: str, region: str | None) -> str | None:
    """Which of the verifier's host rules this ``URL.Host`` breaks: host, host_region, host_global, host_partition.

    ``region`` is the verifying server's own; None: of that, nothing is known. Source: verifySTSHostnameFormat.
    """
    labels = host.split(".")
    if host != GLOBAL_STS_HOST and len(labels) < _FEW_LABELS:
        return "host"
    host_region = "global" if host == GLOBAL_STS_HOST else labels[1]
    if host_region == "global":  # any host whose second label is "global": the verifier's own reading
        return None if partition == "aws" else "host_global"
    if not _REGION_LABEL.fullmatch(host_region):
        return "host_region"
    if host not in _sdk_hosts(host_region):
        return None if region is not None and host in _server_hosts(partition, region) else "host"
    return None if ".".join(labels[2:]) in _suffixes(partition) else "host_partition"


def _cluster_suffixes(partition: Partition) -> tuple[str, ...]:
    suffixes = (f"eks.{partition.suffix}", partition.sdk_dual_stack_suffix)
    return (*suffixes, "amazonwebservices.com.cn") if partition.name == "aws-cn" else suffixes


def _by_pattern(region: str) -> Partition | None:
    return next((p for p in PARTITIONS if re.fullmatch(p.region_pattern, region, re.ASCII)), None)


def _sdk_partition(region: str) -> Partition:
    """The resolver's choice: listed regions, then patterns, else the commercial partition."""
    return _EXPLICIT.get(region) or _by_pattern(region) or _BY_NAME["aws"]


def _sdk_host(region: str, *, fips: bool, dual_stack: bool) -> str:
    partition = _sdk_partition(region)
    if region == "aws-global" and not fips and not dual_stack:
        return GLOBAL_STS_HOST
    # GovCloud's plain name is the FIPS one (endpoint rule set of STS).
    service = "sts-fips" if fips and (dual_stack or partition.name != "aws-us-gov") else "sts"
    return f"{service}.{region}.{partition.sdk_dual_stack_suffix if dual_stack else partition.suffix}"


@lru_cache(maxsize=256)
def _sdk_hosts(region: str) -> tuple[str, ...]:
    forms = ((False, False), (True, False), (False, True), (True, True))
    return tuple(_sdk_host(region, fips=fips, dual_stack=dual) for fips, dual in forms)


def _server_hosts(partition: str, region: str) -> tuple[str, ...]:
    if not _REGION_LABEL.fullmatch(region):
        return ()
    return tuple(f"sts.{region}.{suffix}" for suffix in _suffixes(partition))


def _suffixes(partition: str) -> tuple[str, ...]:
    data = _BY_NAME.get(partition)
    if data is None:
        return ()
    return (data.suffix,) if data.dual_stack_suffix is None else (data.suffix, data.dual_stack_suffix)


def _form(*, fips: bool, dual_stack: bool) -> str:
    return "FIPS dual-stack" if fips and dual_stack else "dual-stack" if dual_stack else "FIPS" if fips else "plain"
