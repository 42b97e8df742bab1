"""What Airflow asks of a provider (entry point ``apache_airflow_provider``). Imports nothing."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Name, modules and their place in the documentation."""
    name = "EKS cross-account"
    package = "eks_cross_account.airflow"
    return {
        "package-name": "eks-cross-account",
        "name": name,
        "description": "EKS from another AWS account: operator, hook, trigger and check without kubeconfig and exec.",
        "integrations": [
            {
                "integration-name": name,
                "external-doc-url": "https://docs.aws.amazon.com/eks/latest/userguide/cluster-auth.html",
                "tags": ["aws"],
            }
        ],
        "operators": [{"integration-name": name, "python-modules": [f"{package}.operators"]}],
        "hooks": [{"integration-name": name, "python-modules": [f"{package}.hooks"]}],
        "triggers": [{"integration-name": name, "python-modules": [f"{package}.triggers"]}],
    }
