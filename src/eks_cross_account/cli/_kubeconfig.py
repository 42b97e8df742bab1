"""``kubeconfig``: a configuration for kubectl, helm and Kubernetes clients whose exec plugin is ``token``.

It holds no secret: endpoint and CA of the cluster, and the command that finds its credentials when it is run.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from eks_cross_account import endpoints
from eks_cross_account._printable import printable
from eks_cross_account._version import __version__
from eks_cross_account.cli._main import OK, CannotError, UsageError, role_hops
from eks_cross_account.cli._terminal import Working
from eks_cross_account.cluster import Cluster, authority_pem, describe_cluster
from eks_cross_account.credentials import assume_roles, botocore_session, caller_region, find_region, freeze
from eks_cross_account.errors import ClusterError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from eks_cross_account.credentials import RoleHop

_SERVER = re.compile(r"https://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]*)?")
_SCRIPTS = {"eks-token-check", "eks-cross-account"}
_INSTALL_HINT = (
    f"The plugin is eks-token-check of the Python package eks-cross-account ({__version__} wrote this): install it "
    "(pipx install eks-cross-account), then write this file anew with: eks-token-check kubeconfig"
)
_BY_HAND = "give --cluster-endpoint and --cluster-ca, which the cluster's owner can read"


def kubeconfig(options: argparse.Namespace) -> int:
    """Print it, or write it to a new file; the exit code."""
    _check_meant(options)
    hops = role_hops(options)
    with Working(f"asking EKS about cluster {options.cluster_name}"):
        region, cluster = _cluster(options, hops)
    _check_fit(cluster)
    command = [*_program(), *_arguments(options, hops, region, cluster)]
    written = json.dumps(_document(options, hops, cluster, command), indent=2) + "\n"  # JSON is YAML, for every reader
    if options.file is None:
        sys.stdout.write(written)
    else:
        _write_new(options.file, written)
    return OK


def _check_meant(options: argparse.Namespace) -> None:
    if (options.cluster_endpoint is None) != (options.cluster_ca is None):
        raise UsageError("--cluster-endpoint and --cluster-ca belong together: give both or neither")
    if options.namespace is not None:
        from eks_cross_account.diagnosis.manifests import is_namespace  # noqa: PLC0415 - and with it all of its room

        if not is_namespace(options.namespace):
            raise UsageError(f"--namespace {printable(options.namespace)}: a namespace is a DNS label")


def _cluster(options: argparse.Namespace, hops: Sequence[RoleHop]) -> tuple[str, Cluster]:
    """The cluster and its region: as given, or as EKS describes it to the very identity that will get in."""
    if options.cluster_endpoint is not None:
        cluster = Cluster(options.cluster_name, options.cluster_endpoint, options.cluster_ca)
        match = _SERVER.fullmatch(cluster.endpoint)
        named = endpoints.region_of_cluster_host(match[1]) if match else None
        region = options.region or named or find_region(None, botocore_session(profile=options.profile), os.environ)
        return region, cluster
    session = botocore_session(profile=options.profile)
    region = find_region(options.region, session, os.environ)
    source = assume_roles(
        partial(freeze, session, profile=options.profile),
        hops,
        region=caller_region(session, os.environ) or region,
        session=session,
    )
    try:
        return region, describe_cluster(source, options.cluster_name, region=region, session=session)
    except ClusterError as error:
        if "AccessDenied" not in error.code:
            raise
        raise ClusterError(f"{error}; where that is not allowed, {_BY_HAND}", code=error.code) from None


def _check_fit(cluster: Cluster) -> None:
    """ClusterError for what clients could not use, or should not: a token goes to this server, by this CA."""
    if not cluster.endpoint and cluster.status:
        raise ClusterError(f"cluster {cluster.name} is {cluster.status}, and has no endpoint (yet)")
    if not _SERVER.fullmatch(cluster.endpoint):
        raise ClusterError(f"{printable(cluster.endpoint)} is not the https:// address of an API server")
    authority_pem(cluster)


def _program() -> list[str]:
    """The program that runs here, by an absolute path, which a list of allowed plugins can name. No shell, no PATH."""
    called = os.path.abspath(sys.argv[0])  # noqa: PTH100 - a link stays a link: pipx moves what is behind it
    if os.path.basename(called) in _SCRIPTS and os.access(called, os.X_OK):  # noqa: PTH119 - as above
        return [called]
    return [sys.executable, "-P", "-m", "eks_cross_account.cli"]  # -P: no module out of the current folder


def _arguments(options: argparse.Namespace, hops: Sequence[RoleHop], region: str, cluster: Cluster) -> list[str]:
    # a local cluster on Outposts wants tokens that are signed for its id
    flags = [
        ("--cluster-name", cluster.outpost_id or cluster.name),
        ("--region", region),
        ("--profile", options.profile),
    ]
    for hop in hops:
        flags += [
            ("--role-arn", hop.role_arn),
            ("--external-id", hop.external_id),
            ("--session-name", hop.session_name),
        ]
    words = ["token"]
    for flag, value in flags:
        if value is not None:
            words += [f"{flag}={value}"] if value.startswith("-") else [flag, value]
    return words


def _document(
    options: argparse.Namespace, hops: Sequence[RoleHop], cluster: Cluster, command: Sequence[str]
) -> dict[str, Any]:
    """One cluster, user and context. Names do not collide where several files are joined (``KUBECONFIG=a:b``)."""
    where = cluster.arn or cluster.name
    who = hops[-1].role_arn.rpartition("/")[2] if hops else options.profile
    name = options.alias or (f"{who}@{where}" if who else where)
    plugin = {
        "apiVersion": f"client.authentication.k8s.io/{options.exec_api_version}",
        "command": command[0],
        "args": list(command[1:]),
        "interactiveMode": "Never",
        "provideClusterInfo": True,
        "installHint": _INSTALL_HINT,
    }
    server = {"server": cluster.endpoint, "certificate-authority-data": cluster.certificate_authority}
    within = {} if options.namespace is None else {"namespace": options.namespace}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": where, "cluster": server}],
        "users": [{"name": name, "user": {"exec": plugin}}],
        "contexts": [{"name": name, "context": {"cluster": where, "user": name, **within}}],
        "current-context": name,
    }


def _write_new(file: str, text: str) -> None:
    """0600, and never over one that is there: a kubeconfig may hold what cannot be made again."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "w", encoding="utf-8") as opened:  # noqa: PTH123 - a descriptor
                opened.write(text)
        except OSError:  # half of one is none, and would be in the next one's way
            os.unlink(file)  # noqa: PTH108 - as it was made
            raise
    except OSError as error:
        raise CannotError(f"cannot write {printable(file)}: {error.strerror}") from None
    own = '"${KUBECONFIG:-$HOME/.kube/config}"'
    print(f"KUBECONFIG={shlex.quote(os.path.abspath(file))}:{own} kubectl get pods", file=sys.stderr)  # noqa: PTH100 - for a shell
