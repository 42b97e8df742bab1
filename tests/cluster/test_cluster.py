"""What stands here is what it says: each back end of the authenticator, loopback alone, and nothing left behind."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from clusters import ADMIN, BARE, SESSION, STRANGER, WORKER, B
from real_cluster import RealCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]
PODS = "/api/v1/namespaces/data/pods"
REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


@pytest.fixture
def cluster(real_cluster: RealCluster) -> Iterator[RealCluster]:
    with real_cluster.test() as clean:
        yield clean


def user(cluster: RealCluster, role: str) -> str | None:
    """Whom the API server takes the role for; None: 401."""
    answer = cluster.ask("POST", REVIEW, {}, role=role)
    return None if answer.status == 401 else str(answer.document["status"]["userInfo"]["username"])


def test_the_versions_are_those_that_are_pinned(cluster: RealCluster) -> None:
    version = cluster.ask("GET", "/version", role=ADMIN).document

    assert version["gitVersion"] == "v1.36.3"


def test_a_mounted_file_maps_and_nothing_else_then(cluster: RealCluster) -> None:
    cluster.set_mode("MOUNTED_FILE")

    assert user(cluster, ADMIN) == f"mounted:{SESSION}"
    assert user(cluster, WORKER) is None


def test_the_dynamic_file_pins_the_roles_id_and_its_arn_without_the_path(cluster: RealCluster) -> None:
    entered = cluster.sandbox.add_role(f"arn:aws:iam::{B}:role/a/path/entered")
    cluster.add_access_entry(entered.arn)
    before = user(cluster, entered.arn)
    entry = cluster.world.entries.pop(entered.arn)
    cluster.world.entries[entered.arn] = type(entry)(**{**vars(entry), "principal_arn": f"arn:aws:iam::{B}:role/other"})
    cluster._settle_entries()

    assert before == f"arn:aws:sts::{B}:assumed-role/entered/{SESSION}"
    assert user(cluster, entered.arn) is None
    assert "ARN does not match User ID" in cluster.authenticator_log()[-1]


def test_aws_auth_counts_as_it_is_edited(cluster: RealCluster) -> None:
    row = "- rolearn: {}\n  username: edited\n"
    seen = []
    for arn in (STRANGER.replace("team/", ""), STRANGER, BARE):  # without its path, with it, another's
        cluster.set_aws_auth({"mapRoles": row.format(arn)})
        seen.append(user(cluster, STRANGER))

    assert seen == ["edited", None, None]


def test_every_socket_that_listens_is_on_loopback(cluster: RealCluster) -> None:
    open_here = {
        inode
        for process in cluster.processes.values()
        for link in Path(f"/proc/{process.pid}/fd").iterdir()
        if (inode := _socket(link))
    }
    listening = {
        fields[1].partition(":")[0]
        for table in ("tcp", "tcp6")
        for fields in (line.split() for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:])
        if fields[3] == "0A" and fields[9] in open_here
    }

    assert listening == {"0100007F"}


def _socket(link: Path) -> str | None:
    try:
        found = re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink()))
    except FileNotFoundError:
        return None
    return found[1] if found else None


@pytest.mark.usefixtures("real_cluster")  # which is skipped without Go
def test_a_start_that_fails_leaves_no_process_and_no_file() -> None:
    class Broken(RealCluster):
        def _start_node(self) -> None:
            raise OSError("no node")

    broken = Broken()
    with pytest.raises(OSError, match="no node"), broken:
        pass

    assert len(broken.processes) == 3
    assert [process.pid for process in broken.processes.values()] == [None] * 3
    assert not broken._folder.exists()
