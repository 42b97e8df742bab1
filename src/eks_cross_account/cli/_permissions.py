"""``permissions``: what an operator needs, whether the caller has it, and the least that gives it."""

from __future__ import annotations

import contextlib
import json
import sys
import textwrap
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from eks_cross_account._printable import printable
from eks_cross_account.cli._main import FAILED, OK, UNKNOWN, UsageError, role_hops
from eks_cross_account.cli._terminal import Working, show, width
from eks_cross_account.diagnosis._permission_checks import TITLES
from eks_cross_account.diagnosis._permission_probes import Wanted
from eks_cross_account.diagnosis.manifests import (
    NAME,
    chart_values,
    is_namespace,
    name_of_more,
    role_manifest,
    service_account_manifest,
)
from eks_cross_account.diagnosis.needs import MWAA_LINES, NEWEST, Rule, changes_between, required_permissions
from eks_cross_account.diagnosis.remedies import grant
from eks_cross_account.diagnosis.report import SCHEMA, WIDTH, text_of
from eks_cross_account.errors import UnknownRegionError

if TYPE_CHECKING:
    import argparse

    from eks_cross_account.airflow._target import Target
    from eks_cross_account.diagnosis.report import Finding, Form, Report

_OPTIONS = ("deferrable", "xcom", "init_logs", "interim_logs", "events_on_failure", "callbacks", "istio", "wait")
_LINES = dict(MWAA_LINES)
_CHANGES = {"new": "new", "gone": "gone", "now fails": "worse"}
_MARKS = {True: "yes", False: "NO", None: "?"}
_COLUMN = 32  # of the table: where its second column begins
_NOTES = 78  # characters of a line in a manifest
_DEFAULT_NAMESPACE = "default"  # as EksPodOperator's


def permissions(options: argparse.Namespace) -> int:
    """The table; with ``--check`` beside what the API server says; or the manifest."""
    _check_meant(options)
    if options.upgrade_from is not None:
        return _upgrade(options)
    wanted, target = wanted_of(options)
    rules = [{**asdict(rule), "allowed": None, "reason": ""} for rule in wanted.rules]
    findings: tuple[Finding, ...] = ()
    if options.check or options.dry_run_pod:
        rules, findings = _checked(options, wanted, target)
    if options.manifest:
        return _manifest(options, wanted, rules, findings)
    _print(options, wanted, rules, findings)
    if not options.check and not options.dry_run_pod:
        return OK
    said = {rule["allowed"] for rule in rules}
    about_rights = {finding.state for finding in findings if finding.title in TITLES}
    if False in said or "FAIL" in about_rights:
        return FAILED
    return UNKNOWN if None in said or "UNKNOWN" in about_rights else OK


def wanted_of(options: argparse.Namespace) -> tuple[Wanted, Target | None]:
    """What the flags ask for, and of ``--from-dag`` the task's own way into the cluster. UsageError."""
    target: Target | None = None
    namespace, pod, title = options.namespace, None, f"operator {options.operator or 'pod'}"
    arguments = arguments_of(options)
    if options.from_dag is not None:
        from eks_cross_account.cli import _airflow  # noqa: PLC0415 - Airflow, only where it is asked

        task = _airflow.task_of(options.from_dag)
        arguments = {**task.options, **{name: value for name, value in arguments.items() if value is not None}}
        target, title = task.target, f"task {task.name}"
        pod = _airflow.pod_of(task) if options.dry_run_pod else None
        namespace = namespace or task.namespace
    elif options.dry_run_pod:
        pod = _small_pod(xcom=options.xcom)
    if namespace is None:
        print(f"no --namespace given: the namespace is {_DEFAULT_NAMESPACE}, as EksPodOperator's is", file=sys.stderr)
    elif not is_namespace(namespace):
        raise UsageError(f"--namespace {printable(namespace)}: a namespace is a DNS label")
    given = {name: value for name, value in arguments.items() if value is not None}
    try:
        rules = required_permissions(**given)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return Wanted(rules, namespace or _DEFAULT_NAMESPACE, title, pod, given.get("provider_version", "")), target


def arguments_of(options: argparse.Namespace) -> dict[str, Any]:
    """As ``required_permissions`` has them; None where nothing was said."""
    return {
        "operator": options.operator,
        **{name: getattr(options, name) or None for name in _OPTIONS},
        "logs": False if options.no_logs else None,
        "events": False if options.no_events else None,
        "reattach": False if options.no_reattach else None,
        "on_finish_action": options.on_finish_action,
        "resources": tuple(options.resource) or None,
        "provider_version": _LINES.get(options.provider_version, options.provider_version),
        "server_version": options.server_version,
    }


def _small_pod(*, xcom: bool) -> dict[str, Any]:
    """A pod like the operator's, for admission to judge: one container, and the sidecar of an XCom."""
    names = ["base", "airflow-xcom-sidecar"] if xcom else ["base"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "eks-token-check-"},
        "spec": {"restartPolicy": "Never", "containers": [{"name": name, "image": "alpine"} for name in names]},
    }


def _check_meant(options: argparse.Namespace) -> None:
    asks = options.check or options.dry_run_pod
    elsewhere = _is_elsewhere(options)
    for flag, given, needs, there in (
        ("--group", options.group, "--manifest", options.manifest),
        ("--service-account", options.service_account, "--manifest", options.manifest),
        ("--cloud-identity", options.cloud_identity, "--service-account", options.service_account),
        ("--chart", options.chart, "--service-account", options.service_account),
        ("--principal-arn", options.principal_arn, "--group", options.group),
        ("--kubeconfig, --context and --in-cluster", elsewhere, "--check or --dry-run-pod", asks),
        ("--manifest", options.manifest, "--group or --service-account", options.group or options.service_account),
    ):
        if given and not there:
            raise UsageError(f"{flag} needs {needs}")
    if options.group and options.service_account:
        raise UsageError("--group is for who comes from AWS, --service-account for Airflow in the cluster: give one")
    if elsewhere and (options.hops or options.profile):
        raise UsageError("--kubeconfig, --context and --in-cluster have credentials of their own")
    if options.in_cluster and (options.kubeconfig is not None or options.context is not None):
        raise UsageError("--in-cluster and --kubeconfig are two ways in: give one")
    if options.upgrade_from is not None and (asks or options.manifest or options.from_dag):
        raise UsageError("--upgrade-from compares two releases, and asks nobody: give it alone")
    if options.service_account and options.remedy not in {None, "yaml"}:
        raise UsageError(f"--service-account prints YAML; --remedy {options.remedy} does not go with it")
    if options.manifest and options.output == "json":
        raise UsageError("--manifest prints YAML, commands or Terraform (--remedy); --output json does not go with it")


# --- asking


def _checked(
    options: argparse.Namespace, wanted: Wanted, target: Target | None
) -> tuple[list[dict[str, Any]], tuple[Finding, ...]]:
    """Each rule with what the API server says of it, and the findings."""
    with Working("asking the API server"), contextlib.redirect_stdout(sys.stderr):  # as check has it
        report = _report(options, wanted, target)
    seen = report.permissions
    known = seen is not None and any(rule["allowed"] is not None for rule in seen["rules"])
    return [] if seen is None else list(seen["rules"]), report.findings if not known else _about_rights(report.findings)


def _report(options: argparse.Namespace, wanted: Wanted, target: Target | None) -> Report:
    """By a kubeconfig, as the task would, or by the flags."""
    if _is_elsewhere(options):
        from eks_cross_account.cli import _by_kubeconfig  # noqa: PLC0415 - kubernetes, only where it is asked

        return _by_kubeconfig.report(options, wanted)
    if target is not None and not (options.cluster_name or options.hops or options.profile):
        from eks_cross_account.cli import _airflow  # noqa: PLC0415 - Airflow, only where it is asked

        return _airflow.report_of_target(target, wanted, options.timeout)
    if options.cluster_name is None:
        raise UsageError("--check needs --cluster-name, --kubeconfig, --context or --in-cluster")
    from eks_cross_account.diagnosis import diagnose  # noqa: PLC0415 - botocore, only where it is asked

    try:
        return diagnose(
            cluster_name=options.cluster_name,
            region=options.region,
            role_hops=role_hops(options),
            profile=options.profile,
            wanted=wanted,
            timeout=options.timeout,
        )
    except UnknownRegionError as error:  # none given and none configured
        raise UsageError(str(error)) from None


def _is_elsewhere(options: argparse.Namespace) -> bool:
    return options.kubeconfig is not None or options.context is not None or options.in_cluster


def _about_rights(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """What is said of rights, and as whom they were asked about."""
    wanted = TITLES | {"API server"}
    return tuple(finding for finding in findings if finding.title in wanted or finding.state == "FAIL")


# --- printing


def _print(
    options: argparse.Namespace, wanted: Wanted, rules: list[dict[str, Any]], findings: tuple[Finding, ...]
) -> None:
    if options.output == "json":
        document = {
            "schema": SCHEMA,
            "command": "permissions",
            "title": wanted.title,
            "namespace": wanted.namespace,
            "rules": rules,
            "findings": [finding.to_dict() for finding in findings],
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    release = wanted.provider or f"{NEWEST} or newer"
    head = f"{'':<6}{'permission':<{_COLUMN - 6}}without it"
    lines = [f"{wanted.title}, namespace {wanted.namespace}, cncf-kubernetes {release}", "", head]
    asked = options.check or options.dry_run_pod
    for rule in rules:
        lines += _row(rule, _MARKS[rule["allowed"]] if asked else "")
    if asked:
        form: Form = options.remedy or "cli"
        lines += ["", *(line for finding in findings for line in text_of(_short(finding), form, width()))]
    show("\n".join(lines) + "\n")


def _short(finding: Finding) -> Finding:
    """Without what the table says already."""
    seen = tuple(pair for pair in finding.evidence if pair[0] == "not checked")
    return replace(finding, evidence=seen) if finding.title in TITLES else finding


def _row(rule: dict[str, Any], mark: str) -> list[str]:
    """One rule: what came of it, the permission, and what is without it."""
    group = f".{rule['api_group']}" if rule["api_group"] else ""
    instead = f" or {rule['instead']}" if rule["instead"] else ""
    where = ", of the cluster" if rule["cluster_scoped"] else ""
    others = ", ".join(rule["callers"]) if rule["callers"] != ("worker",) else ""
    when = "; ".join(filter(None, ("" if rule["when"] == "always" else rule["when"], others)))
    what = f"{rule['verb']}{instead} {rule['resource']}{group}{where}"
    text = f"{rule['consequence']}{f' ({when})' if when else ''}"
    first, *more = textwrap.wrap(text, (width() or WIDTH) - _COLUMN - len("silent  ")) or [""]
    head = f"{mark:<6}{what:<{_COLUMN - 8}}  " if len(what) <= _COLUMN - 8 else f"{mark:<6}{what}\n{'':<{_COLUMN}}"
    return [f"{head}{rule['effect']:<8}{first}", *(f"{'':<{_COLUMN + 8}}{line}" for line in more)]


def _upgrade(options: argparse.Namespace) -> int:
    """What a newer provider asks for that an older one did not."""
    old = _LINES.get(str(options.upgrade_from), str(options.upgrade_from))
    new = _LINES.get(options.provider_version, options.provider_version) or NEWEST
    given = {
        name: value for name, value in arguments_of(options).items() if value is not None and name != "provider_version"
    }
    try:
        changed = changes_between(old, new, **given)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if options.output == "json":
        told = [{**asdict(rule), "change": change} for rule, change in changed]
        document = {"schema": SCHEMA, "command": "permissions", "from": old, "to": new, "changes": told}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return OK
    lines = [f"operator {options.operator or 'pod'}: cncf-kubernetes {old} -> {new}", ""]
    for rule, change in changed:
        lines += _row(asdict(rule), _CHANGES[change])
    sys.stdout.write("\n".join([*lines, *([] if changed else ["        asks for the same"])]) + "\n")
    return OK


def _manifest(
    options: argparse.Namespace, wanted: Wanted, rules: list[dict[str, Any]], findings: tuple[Finding, ...]
) -> int:
    """For what is missing, where it was asked, else for all; ready to be piped into kubectl apply."""
    denied = {(rule["api_group"], rule["resource"], rule["verb"]) for rule in rules if rule["allowed"] is False}
    asked = any(rule["allowed"] is not None for rule in rules)
    held: tuple[Rule, ...] = wanted.rules
    if asked:
        held = tuple(rule for rule in held if (rule.api_group, rule.resource, rule.verb) in denied)
    if (options.check or options.dry_run_pod) and not asked:
        broken = next((each for each in findings if each.state == "FAIL"), None)
        why = f": [{broken.id}] {broken.summary}" if broken is not None else ""
        print(f"the rights could not be asked about{why}", file=sys.stderr)
        return UNKNOWN
    if not held:
        print("nothing is missing", file=sys.stderr)
        return OK
    try:
        sys.stdout.write(_granted(options, wanted, held))
    except ValueError as error:
        raise UsageError(str(error)) from None
    return OK


def _granted(options: argparse.Namespace, wanted: Wanted, rules: tuple[Rule, ...]) -> str:
    if options.service_account:
        return _in_the_cluster(options, wanted, rules)
    name = name_of_more(rules, options.group) if options.check else NAME
    manifest = role_manifest(rules, namespace=wanted.namespace, group=options.group, name=name)
    remedy = grant(
        rules,
        namespace=wanted.namespace,
        group=options.group,
        principal_arn=options.principal_arn or _last_role(options),
        cluster_name=options.cluster_name,
        region=options.region,
        name=name,
    )
    body = {"hcl": f"{remedy.hcl or manifest}\n", "cli": "\n".join(remedy.commands) + "\n"}.get(
        options.remedy or "", manifest
    )
    beside = () if options.remedy == "cli" else remedy.commands
    notes = textwrap.wrap(remedy.text, _NOTES)
    for command in beside:
        notes += ["", *command.splitlines()]
    return "".join(f"# {line}".rstrip() + "\n" for line in notes) + body


def _last_role(options: argparse.Namespace) -> str | None:
    """Whose access entry it is: the role that the flags end with."""
    return str(options.hops[-1]["role_arn"]) if options.hops else None


def _in_the_cluster(options: argparse.Namespace, wanted: Wanted, rules: tuple[Rule, ...]) -> str:
    accounts = [name.rpartition(":")[2] for name in options.service_account]
    places = {name.rpartition(":")[0] or wanted.namespace for name in options.service_account}
    if len(places) > 1:
        raise ValueError("the service accounts of one Airflow are in one namespace")
    if options.chart:
        named = dict(zip(("workers", "triggerer"), accounts, strict=False))
        return chart_values(**named, cloud_identity=options.cloud_identity)
    return service_account_manifest(
        rules,
        namespace=wanted.namespace,
        service_accounts=accounts,
        airflow_namespace=places.pop(),
        cloud_identity=options.cloud_identity,
        name=name_of_more(rules, *options.service_account) if options.check else NAME,
    )
