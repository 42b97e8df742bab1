"""``check``, ``decode``, ``verify`` and ``explain``: gather, judge, render."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eks_cross_account import endpoints
from eks_cross_account._printable import printable, printable_line
from eks_cross_account.cli._main import FAILED, OK, UNKNOWN, UsageError, role_hops
from eks_cross_account.cli._terminal import Working, show, width
from eks_cross_account.errors import InvalidArnError, MalformedTokenError, UnknownRegionError
from eks_cross_account.rules import Violation, violations
from eks_cross_account.token import MAX_BYTES, DecodedToken, decode_token

if TYPE_CHECKING:
    import argparse

    from eks_cross_account.diagnosis import Report
    from eks_cross_account.diagnosis._compare import Change
    from eks_cross_account.diagnosis._permission_probes import Wanted

_SCHEMA = "eks-token-check/1"
_INPUT_LIMIT = 1 << 20  # a token has 4 KiB, a report not more than this; more is some other file
_PASTE_LIMIT = 10_000_000  # bytes, a few seconds of work


def check(options: argparse.Namespace) -> int:
    """The whole ladder."""
    _check_meant(options)
    wanted = _wanted(options)
    other_side = None if options.evidence is None else _read(options.evidence, _INPUT_LIMIT + 1)
    earlier = _earlier(options.compare)  # read first: it may be no report
    try:
        # Airflow, once --from-dag has loaded it, logs to stdout
        with Working(f"checking cluster {options.cluster_name}"), contextlib.redirect_stdout(sys.stderr):
            report = _report(options, other_side, wanted)
    except (UnknownRegionError, InvalidArnError) as error:  # none given and none configured; no principal
        raise UsageError(str(error)) from None
    except ValueError as error:
        if options.evidence is None:
            raise
        raise UsageError(f"--evidence {printable(options.evidence)}: {error}") from None
    write = show if options.output == "text" and not options.ask_owner else sys.stdout.write
    write(_rendered(report, options, earlier))
    return report.exit_code


def _check_meant(options: argparse.Namespace) -> None:
    """UsageError for forms that exclude each other: one of them would be passed over in silence."""
    asks, text = options.ask_owner, options.output == "text"
    for flag, given, allowed in (
        ("--ask-owner", asks, text),
        ("--remedy", options.remedy is not None, text and not asks),
        ("--compare", options.compare is not None, options.output != "html" and not asks),
    ):
        if given and not allowed:
            other = "--ask-owner" if asks and flag != "--ask-owner" else f"--output {options.output}"
            raise UsageError(f"{flag} does not go with {other}")
    if asks and options.principal_arn is not None:
        raise UsageError("--ask-owner writes to the cluster's owner, and --principal-arn is the owner's own check")


def _rendered(report: Report, options: argparse.Namespace, earlier: dict[str, Any] | None) -> str:
    if options.ask_owner:
        from eks_cross_account.diagnosis import ask_owner  # noqa: PLC0415 - as in _report

        return ask_owner(report)
    if options.output == "html":
        return report.to_html()
    if earlier is None:
        return report.to_json() + "\n" if options.output == "json" else _page(report, options)
    document = json.loads(report.to_json())
    changed = _changes(earlier, document)
    if options.output == "json":
        return json.dumps({**document, "changes": [asdict(change) for change in changed]}, indent=2) + "\n"
    lines = [f"  {change.what}: {change.before} -> {change.after}" for change in changed]
    head = f"changed since {printable_line(options.compare)}:"
    return _page(report, options) + "\n".join(["", head, *(lines or ["  nothing that is looked at"])]) + "\n"


def _page(report: Report, options: argparse.Namespace) -> str:
    return report.to_text(options.remedy or "cli", width=width())


def _earlier(file: str | None) -> dict[str, Any] | None:
    if file is None:
        return None
    from eks_cross_account.diagnosis import _compare  # noqa: PLC0415 - only where it is asked
    from eks_cross_account.diagnosis.report import UnreadableReportError  # noqa: PLC0415 - as above

    try:
        return _compare.read_report(_read(file, _INPUT_LIMIT + 1))
    except UnreadableReportError as error:
        raise UsageError(f"--compare {printable(file)}: {error}") from None


def _changes(earlier: dict[str, Any], document: dict[str, Any]) -> tuple[Change, ...]:
    from eks_cross_account.diagnosis import _compare  # noqa: PLC0415 - as above

    return _compare.changes(earlier, document)


def _wanted(options: argparse.Namespace) -> Wanted | None:
    """What is to be asked about rights: nothing, unless a flag says so."""
    from eks_cross_account.cli import _permissions  # noqa: PLC0415 - as below

    said = options.namespace is not None or options.from_dag is not None or options.dry_run_pod
    if not said and all(value is None for value in _permissions.arguments_of(options).values()):
        return None
    if options.principal_arn is not None:
        raise UsageError("rights are asked for as the caller: --principal-arn does not go with --namespace")
    return _permissions.wanted_of(options)[0]


def _report(options: argparse.Namespace, other_side: bytes | None, wanted: Wanted | None) -> Report:
    if options.airflow_conn_id is not None:
        from eks_cross_account.cli import _airflow  # noqa: PLC0415 - Airflow, only where it is asked

        if options.principal_arn is not None:
            raise UsageError("--principal-arn is for the cluster's owner, who has no Airflow connection: give one")
        return _airflow.report(options, other_side, wanted)
    from eks_cross_account.diagnosis import diagnose  # noqa: PLC0415 - botocore, only for this command

    return diagnose(
        cluster_name=options.cluster_name,
        region=options.region,
        role_hops=role_hops(options),
        profile=options.profile,
        principal_arn=options.principal_arn,
        other_side=other_side,
        wanted=wanted,
        timeout=options.timeout,
    )


def decode(options: argparse.Namespace) -> int:
    """What is in the token, and every rule it breaks."""
    text = _read_token(options.file)
    try:
        decoded: DecodedToken | None = decode_token(text)
    except MalformedTokenError:
        decoded = None  # the violation says why
    now = datetime.now(UTC)
    broken = violations(text, now=now, partition=_partition(options.region, decoded), region=options.region)
    if options.output == "json":
        _print_json("decode", token=_token_fields(decoded), violations=[asdict(violation) for violation in broken])
    else:
        show(_decode_text(decoded, broken, now))
    return FAILED if broken else OK


def verify(options: argparse.Namespace) -> int:
    """Whom STS says the token belongs to."""
    from eks_cross_account.diagnosis.checks import identity_dict  # noqa: PLC0415 - heavier than `decode` needs
    from eks_cross_account.sts import verify_token  # noqa: PLC0415 - as above

    text = _read_token(options.file)
    region = options.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    with Working("asking STS"):
        identity = identity_dict(verify_token(text, cluster_name=options.cluster_name, region=region))
    if options.output == "json":
        _print_json("verify", identity=identity)
    else:
        column = max(map(len, identity))
        sys.stdout.write("".join(f"{name:<{column}}  {value}\n" for name, value in identity.items()))
    return OK


def explain(options: argparse.Namespace) -> int:
    """What a paste says."""
    from eks_cross_account.diagnosis import explain as judged  # noqa: PLC0415 - heavier than `decode` needs

    raw = _read(options.file, _PASTE_LIMIT + 1)
    if len(raw) > _PASTE_LIMIT:
        raise UsageError(f"more than {_PASTE_LIMIT // 1_000_000} MB: cut the text to what stands around the error")
    items = judged(raw.decode("utf-8", "replace"), now=datetime.now(UTC))
    if options.output == "json":
        _print_json("explain", items=[item.to_dict() for item in items])
    else:
        show("".join(item.to_text(width=width()) for item in items) or "nothing in it is known here\n")
    return OK if items else UNKNOWN


def _read(file: str, limit: int) -> bytes:
    """A file's, or stdin's, first bytes."""
    try:
        if file == "-" and sys.stdin is not None:
            return sys.stdin.buffer.read(limit)
        if file == "-":
            raise UsageError("cannot read stdin: it is closed")
        with Path(file).open("rb") as opened:
            return opened.read(limit)
    except OSError as error:
        name = "stdin" if file == "-" else printable(file)
        raise UsageError(f"cannot read {name}: {error.strerror}") from None


def _read_token(file: str) -> str:
    """The token in a file or on stdin: one line, or the ExecCredential that a plugin printed."""
    raw = _read(file, _INPUT_LIMIT)
    text = raw.decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")
    if not text:
        raise UsageError("there is no token: give it on stdin, or name a file (tokens are never arguments)")
    return _token_of_exec_credential(text) or text


def _token_of_exec_credential(text: str) -> str | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(text)["status"]["token"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(found, str):
        return None
    print("read status.token of the ExecCredential", file=sys.stderr)
    return found


def _partition(region: str | None, decoded: DecodedToken | None) -> str:
    """The partition to judge for: the region's, else the one that the token itself is for."""
    try:
        return endpoints.partition_of(region or (decoded.region if decoded and decoded.region else ""))
    except UnknownRegionError:
        return "aws"


def _token_fields(decoded: DecodedToken | None) -> dict[str, Any] | None:
    if decoded is None:
        return None
    fields = decoded._asdict()
    for name in ("issued_at", "expiration"):
        fields[name] = None if fields[name] is None else _iso(fields[name])
    return {**fields, "signed_headers": list(decoded.signed_headers)}


def _decode_text(decoded: DecodedToken | None, broken: tuple[Violation, ...], now: datetime) -> str:
    lines = ["decoded, NOT verified: whose it is only STS can say (eks-token-check verify)"]
    if decoded is not None:
        rows = {
            "sts host": _or_unreadable(decoded.sts_host),
            "region": _or_unreadable(decoded.region),
            "access key id": _or_unreadable(decoded.access_key_id),
            "credential scope": _or_unreadable(decoded.credential_scope),
            "issued at": _moment(decoded.issued_at, now),
            "expiration": _moment(decoded.expiration, now),
            "expires in": f"{_or_unreadable(decoded.expires_in)} (X-Amz-Expires; the verifier goes by the date)",
            "signed headers": ";".join(decoded.signed_headers),
            "session token": "yes" if decoded.has_session_token else "no",
            "size": f"{decoded.size_bytes} of {MAX_BYTES} bytes",
        }
        lines += [f"  {name:<17} {value}" for name, value in rows.items()]
    else:
        lines = ["this cannot be read as a token"]
    lines.append("breaks no rule" if not broken else f"breaks {len(broken)} rule{'s' if len(broken) > 1 else ''}:")
    for violation in broken:
        lines += [f"  {violation.rule} ({violation.judge}): {violation.message}", f"      {violation.remedy}"]
    return "\n".join(lines) + "\n"


def _or_unreadable(value: object) -> str:
    return "(missing or unreadable)" if value is None else str(value)


def _moment(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return _or_unreadable(None)
    seconds = round((moment - now).total_seconds())
    away = f"{abs(seconds) // 60} min {abs(seconds) % 60} s"
    return f"{_iso(moment)} ({f'in {away}' if seconds > 0 else f'{away} ago'})"


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _print_json(command: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"schema": _SCHEMA, "command": command, **fields}, indent=2) + "\n")
