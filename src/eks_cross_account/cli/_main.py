"""Arguments in, exit code out: the parser, the choice of the command, and the one place where errors become text."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from eks_cross_account import endpoints
from eks_cross_account._printable import printable, printable_line
from eks_cross_account._version import __version__
from eks_cross_account.errors import (
    ClusterError,
    CredentialsError,
    EksTokenError,
    StsUnavailableError,
    UnknownRegionError,
)
from eks_cross_account.token import check_cluster_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eks_cross_account.credentials import RoleHop

_LONGEST = 600  # seconds that a check may take
_UNWRITTEN = {errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC}
OK, FAILED, USAGE, UNKNOWN, INTERRUPTED = 0, 1, 2, 3, 130
_ROLE = "  ROLE=arn:aws:iam::222222222222:role/cross-account-role"
_EXAMPLES = {  # of `COMMAND --help`; tests/test_help.py runs them
    "check": f"""examples:
  # with the credentials that are around here, over a role of the cluster's
  # account
{_ROLE}
  eks-token-check check --cluster-name analytics --role-arn $ROLE

  # with an Airflow connection, as a task of it would
  eks-token-check check --cluster-name analytics --airflow-conn-id aws_b

  # the text to forward to the owner of the other account
  eks-token-check check --cluster-name analytics --role-arn $ROLE --ask-owner

  # the owner: has it a way in? One page of what both sides see
  eks-token-check check --cluster-name analytics --role-arn $ROLE \\
      --output json > task.json
  eks-token-check check --cluster-name analytics --principal-arn $ROLE \\
      --evidence task.json
""",
    "decode": """examples:
  # a token of any plugin
  eks-token-check token --cluster-name analytics | eks-token-check decode
  aws eks get-token --cluster-name analytics | eks-token-check decode

  # for a program
  eks-token-check decode --output json token.txt
""",
    "verify": """examples:
  # whose token is this?
  aws eks get-token --cluster-name analytics |
      eks-token-check verify --cluster-name analytics

  # and this, in a file?
  eks-token-check verify token.txt --cluster-name analytics
""",
    "explain": """examples:
  # what a program said
  kubectl get pods 2>&1 | eks-token-check explain

  # the log of a task
  eks-token-check explain task.log
""",
    "permissions": f"""examples:
  # what an operator needs, and what is without it
  eks-token-check permissions --operator pod --xcom --namespace data

  # has the role got it?
{_ROLE}
  eks-token-check permissions --check --cluster-name analytics \\
      --role-arn $ROLE --namespace data

  # the least that gives it
  eks-token-check permissions --manifest --group airflow-workers \\
      --namespace data | kubectl apply -f -

  # what an upgrade of MWAA will ask for
  eks-token-check permissions --upgrade-from 2.10.3 --provider-version 3.0.6
""",
    "token": f"""examples:
  # as `aws eks get-token`
  eks-token-check token --cluster-name analytics --region eu-west-1

  # over a role, with the external id that its owner asks for
{_ROLE}
  eks-token-check token --cluster-name analytics --role-arn $ROLE \\
      --external-id partner-7

  # a kubeconfig that has it as its exec plugin
  eks-token-check kubeconfig --cluster-name analytics --role-arn $ROLE
""",
    "kubeconfig": f"""examples:
  # a file of its own: for one command, or beside those that there are
{_ROLE}
  eks-token-check kubeconfig --cluster-name analytics --role-arn $ROLE \\
      --file analytics.kubeconfig
  KUBECONFIG=analytics.kubeconfig kubectl get pods
  KUBECONFIG=$HOME/.kube/config:analytics.kubeconfig \\
      kubectl config get-contexts

  # joined with them into one
  KUBECONFIG=$HOME/.kube/config:analytics.kubeconfig \\
      kubectl config view --flatten > joined.kubeconfig
""",
    "sandbox": f"""examples:
  # the story on one page: 401, what check says, the fix, 200, a pod
  eks-token-check sandbox --demo

  # in one shell; what it prints goes into another
  eks-token-check sandbox
{_ROLE}
  eks-token-check check --cluster-name analytics --role-arn $ROLE
""",
    "completions": """examples:
  # in this shell
  eval "$(eks-token-check completions bash)"

  # in every shell from now on; zsh: into a folder of $fpath, as
  # _eks-token-check
  eks-token-check completions bash \\
      > ~/.local/share/bash-completion/completions/eks-token-check
""",
}
_DESCRIPTION = "Why a cluster in another AWS account answers 401: which link is broken, who mends it, and how."


class UsageError(Exception):
    """The arguments cannot be meant: exit code 2."""


class CannotError(Exception):
    """What was asked for cannot be done here: exit code 1."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code. Never a traceback for bad input, a refusal, or Ctrl-C."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if sys.stdout is None:  # closed by the caller: there is nowhere to answer
        return FAILED
    try:
        options = _parse(given)
        options.is_program = arguments is None  # and not called by another one, whose stdout is not ours
        code = _command(options.command)(options)
        sys.stdout.flush()
    except SystemExit as stop:  # argparse: --help, --version, usage
        code = stop.code if isinstance(stop.code, int) else USAGE
    except UsageError as error:
        code = _fail(str(error), USAGE)
    except CannotError as error:
        code = _fail(str(error), FAILED)
    except EksTokenError as error:
        code = _fail(str(error), _exit_code(error, given))
    except KeyboardInterrupt:
        code = INTERRUPTED
    except OSError as error:  # of stdout, or of a machine that has no file, process or socket left to give
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter flushes once more at its end
        what = "cannot write" if error.errno in _UNWRITTEN else "cannot go on"
        code = FAILED if isinstance(error, BrokenPipeError) else _fail(f"{what}: {error.strerror}", FAILED)
    return code


def _exit_code(error: EksTokenError, given: list[str]) -> int:
    """3 where a question could not be asked. ``token`` and ``kubeconfig`` have one failure only, as exec plugins do."""
    asked = isinstance(error, StsUnavailableError | UnknownRegionError)
    return UNKNOWN if asked and not {"token", "kubeconfig"}.intersection(given[:1]) else FAILED


def _fail(message: str, code: int) -> int:
    shown = " ".join(message.split())
    if sys.stderr is not None:  # closed by the caller: print() would take stdout
        print(f"eks-token-check: {shown}", file=sys.stderr)
    return code


def _command(name: str) -> Callable[[argparse.Namespace], int]:
    """The command's function, from its own module: `token` must not pay for the imports of `check`."""
    if name == "token":
        from eks_cross_account.cli import _token  # noqa: PLC0415 - see above

        return _token.token
    if name == "kubeconfig":
        from eks_cross_account.cli import _kubeconfig  # noqa: PLC0415 - see above

        return _kubeconfig.kubeconfig
    if name == "completions":
        return _completions
    if name == "sandbox":
        from eks_cross_account.cli import _sandbox  # noqa: PLC0415 - see above

        return _sandbox.sandbox
    if name == "permissions":
        from eks_cross_account.cli import _permissions  # noqa: PLC0415 - see above

        return _permissions.permissions
    from eks_cross_account.cli import _judge  # noqa: PLC0415 - see above

    commands = {"check": _judge.check, "decode": _judge.decode, "verify": _judge.verify, "explain": _judge.explain}
    return commands[name]


def _parse(arguments: list[str]) -> argparse.Namespace:
    if not arguments or (arguments[0] not in _COMMANDS and arguments[0] not in {"-h", "--help", "--version"}):
        if arguments and not arguments[0].startswith("-"):
            raise UsageError(f"there is no command {printable(arguments[0])}; there are: {', '.join(_COMMANDS)}")
        arguments = ["check", *arguments]
    return _parser(arguments[0] if arguments[0] in _COMMANDS else None).parse_args(arguments)


def _parser(only: str | None = None) -> argparse.ArgumentParser:
    """Of all commands, or of one: `token` must not pay for the flags of the others."""
    parser = _Parser(
        prog="eks-token-check",
        description=_DESCRIPTION,
        epilog="eks-token-check COMMAND --help has the command's flags, and examples; without a command: check.",
        allow_abbrev=False,
        formatter_class=_Formatter,
    )
    parser.add_argument("--version", action="version", version=f"eks-token-check {__version__}")
    # prog: argparse loads shutil, bz2 and lzma to find it out
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, prog="eks-token-check")
    for name, add in _PARSERS.items():
        if only in {None, name}:
            add(commands)
    return parser


def _add_check(commands: Any) -> None:  # noqa: ANN401 - argparse keeps that class private
    check = _add(
        commands,
        "check",
        "the whole ladder: credentials, role hops, cluster, token, identity, API server (the default)",
    )
    _add_cluster(check, required=True)
    _add_credentials(check)
    check.add_argument(
        "--airflow-conn-id", metavar="ID", help="the credentials of this Airflow connection, as a task would have them"
    )
    check.add_argument(
        "--principal-arn",
        metavar="ARN",
        help="for the cluster's owner: has this role or user a way in?",
    )
    check.add_argument(
        "--evidence",
        metavar="FILE",
        help="what `check --output json` printed on the other side, to be joined",
    )
    check.add_argument("--timeout", type=_seconds, default=20.0, metavar="SECONDS", help="for all of it (default: 20)")
    check.add_argument("--output", choices=("text", "json", "html"), default="text")
    check.add_argument(
        "--remedy",
        choices=("cli", "hcl", "yaml"),
        help="the form of the fixes in text: aws-cli (the default), Terraform, YAML",
    )
    check.add_argument(
        "--ask-owner", action="store_true", help="print only the text to forward to the owner of the other account"
    )
    check.add_argument("--compare", metavar="FILE", help="an earlier --output json of check: what has changed since")
    rights = check.add_argument_group("rights", "also ask whether the user may do what an operator does (--namespace)")
    _add_operator(rights)


def _add_decode(commands: Any) -> None:  # noqa: ANN401 - argparse keeps that class private
    decode = _add(commands, "decode", "offline: what is in a token, and every rule it breaks")
    _add_token_file(decode)
    decode.add_argument(
        "--region", type=_region, help="the cluster's; default: the token's own host says the partition"
    )
    _add_output(decode)


def _add_verify(commands: Any) -> None:  # noqa: ANN401 - argparse keeps that class private
    verify = _add(commands, "verify", "ask STS whom a token belongs to")
    _add_token_file(verify)
    _add_cluster(verify, required=True)
    _add_output(verify)


def _add_explain(commands: Any) -> None:  # noqa: ANN401 - argparse keeps that class private
    explain = _add(commands, "explain", "what a pasted error, log or audit event says: what it is, whose, what to do")
    explain.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="the text, or '-' for stdin (the default)"
    )
    _add_output(explain)


def _add_token(commands: Any) -> None:  # noqa: ANN401 - argparse keeps that class private
    token = _add(commands, "token", "an ExecCredential for kubectl, as `aws eks get-token` prints one")
    _add_cluster(token, required=True)
    _add_credentials(token)


def _add_kubeconfig(commands: Any) -> None:  # noqa: ANN401 - argparse keeps that class private
    kubeconfig = _add(commands, "kubeconfig", "a kubeconfig for kubectl, helm and other clients that uses `token`")
    _add_cluster(kubeconfig, required=True)
    _add_credentials(kubeconfig)
    kubeconfig.add_argument("--cluster-endpoint", metavar="URL", help="with --cluster-ca: ask AWS nothing")
    kubeconfig.add_argument("--cluster-ca", metavar="BASE64", help="the CA's PEM in base64, as DescribeCluster has it")
    kubeconfig.add_argument("--namespace", metavar="NS", help="of the context; default: none, which is `default`")
    kubeconfig.add_argument("--alias", metavar="NAME", help="of the context; default: ROLE@CLUSTER-ARN")
    kubeconfig.add_argument(
        "--exec-api-version",
        choices=("v1", "v1beta1"),
        default="v1",
        help="of client.authentication.k8s.io (default: v1; lightkube 1.0 wants v1beta1)",
    )
    kubeconfig.add_argument("--file", metavar="PATH", help="write a new file (0600) instead; none is overwritten")


def _add_completions(commands: Any) -> None:  # noqa: ANN401 - argparse keeps that class private
    completions = _add(commands, "completions", "what a shell needs to complete this command's names and flags by TAB")
    completions.add_argument("shell", choices=("bash", "zsh", "tcsh", "fish"))


def _completions(options: argparse.Namespace) -> int:
    """Print the shell's script: static, so that TAB starts no Python."""
    try:
        import shtab  # noqa: PLC0415 - an extra
    except ImportError:
        raise UsageError('completions need shtab: pip install "eks-cross-account[completions]"') from None
    if options.shell not in shtab.SUPPORTED_SHELLS:  # fish came late
        raise UsageError(f"this shtab knows {', '.join(shtab.SUPPORTED_SHELLS)} only: pip install --upgrade shtab")
    sys.stdout.write(shtab.complete(_parser(), shell=options.shell) + "\n")
    return OK


def _add_sandbox(commands: Any) -> None:  # noqa: ANN401 - argparse keeps that class private
    sandbox = _add(commands, "sandbox", "start AWS and EKS on loopback to try things against; prints what to export")
    sandbox.add_argument("--demo", action="store_true", help="play one page: 401, what check says, the fix, 200, a pod")
    sandbox.add_argument("--region", type=_region, default="eu-west-1")
    _add_output(sandbox)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """As every other: what was typed may come from elsewhere, and would steer the terminal."""
        super().error(printable_line(message))


class _Formatter(argparse.HelpFormatter):
    """With a width: to find one, argparse loads shutil, bz2 and lzma, at every flag that is added."""

    def __init__(self, prog: str, **options: Any) -> None:  # noqa: ANN401 - argparse's, which differ by Python
        super().__init__(prog, **{**options, "width": 78})

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("examples:") else super()._fill_text(text, width, indent)


def _add_permissions(commands: Any) -> None:  # noqa: ANN401 - as _add
    permissions = _add(
        commands, "permissions", "what an operator needs in Kubernetes; --check: have I got it; --manifest: the least"
    )
    _add_operator(permissions)
    permissions.add_argument(
        "--upgrade-from",
        metavar="VERSION",
        help="what --provider-version (default: the newest) asks for that this one did not; both may be a line of MWAA",
    )
    permissions.add_argument("--output", choices=("text", "json"), default="text")
    permissions.add_argument(
        "--remedy", choices=("cli", "hcl", "yaml"), help="the form of fixes and manifests: YAML (the default) ..."
    )
    asking = permissions.add_argument_group("asking", "the API server is asked as the caller, one question per rule")
    asking.add_argument("--check", action="store_true", help="ask for each rule")
    _add_cluster(asking, required=False)
    _add_credentials(asking)
    asking.add_argument("--timeout", type=_seconds, default=20.0, metavar="SECONDS", help="for all of it (default: 20)")
    asking.add_argument("--kubeconfig", metavar="FILE", help="for any cluster: a kubeconfig (extra: kubernetes)")
    asking.add_argument("--context", metavar="NAME", help="of the kubeconfig")
    asking.add_argument("--in-cluster", action="store_true", help="as the ServiceAccount of the pod this runs in")
    giving = permissions.add_argument_group("giving", "what to apply; with --check only for what is missing")
    giving.add_argument("--manifest", action="store_true", help="print the Role and its binding, and the commands")
    giving.add_argument("--group", metavar="GROUP", help="of the access entry or of aws-auth, to bind")
    giving.add_argument("--principal-arn", metavar="ARN", help="the role that gets an access entry with that group")
    giving.add_argument(
        "--service-account",
        action="append",
        default=[],
        metavar="[NS:]NAME",
        help="for Airflow inside the cluster: the account of its workers; again, of its triggerer",
    )
    giving.add_argument(
        "--cloud-identity", metavar="ID", help="IAM role ARN, Google service account or Azure client id of the account"
    )
    giving.add_argument("--chart", action="store_true", help="values of the official Airflow chart instead")


def _add_operator(parser: Any) -> None:  # noqa: ANN401 - a parser or a group of one
    """What decides which rules are needed: an operator and its options."""
    parser.add_argument("--namespace", metavar="NS", help="of the pods")
    parser.add_argument(
        "--operator",
        metavar="KIND",
        help="pod (default), job, spark, executor ... ; an unknown one lists them",
    )
    parser.add_argument("--from-dag", metavar="FILE:DAG:TASK", help="take operator, options and namespace from a DAG")
    for flag, text in (
        ("--deferrable", "the task is deferred"),
        ("--xcom", "do_xcom_push"),
        ("--no-logs", "get_logs is off"),
        ("--init-logs", "init_container_logs"),
        ("--interim-logs", "logging_interval"),
        ("--no-events", "log_events_on_startup is off"),
        ("--events-on-failure", "log_events_on_failure"),
        ("--no-reattach", "reattach_on_restart is off"),
        ("--callbacks", "the operator has callbacks"),
        ("--istio", "the pods have istio's sidecar"),
        ("--wait", "wait_until_job_complete"),
    ):
        parser.add_argument(flag, action="store_true", help=text)
    parser.add_argument("--on-finish-action", metavar="ACTION", help="delete_pod (default), keep_pod ...")
    parser.add_argument(
        "--resource", action="append", default=[], metavar="PLURAL.GROUP", help="what create-resource ... is about"
    )
    parser.add_argument("--provider-version", metavar="VERSION", help="of cncf-kubernetes; default: the newest known")
    parser.add_argument("--server-version", metavar="VERSION", help="of Kubernetes; default: the cluster's or newest")
    parser.add_argument(
        "--dry-run-pod", action="store_true", help="also ask whether a pod would be admitted (dryRun=All)"
    )


def _add(commands: Any, name: str, text: str) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse keeps that class private
    added: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text, epilog=_EXAMPLES[name], allow_abbrev=False, formatter_class=_Formatter
    )
    return added


def _add_cluster(parser: Any, *, required: bool) -> None:  # noqa: ANN401 - as above
    parser.add_argument("--cluster-name", required=required, type=_cluster_name)
    parser.add_argument("--region", type=_region, help="the cluster's; default: AWS_REGION, then the AWS configuration")


def _add_credentials(parser: Any) -> None:  # noqa: ANN401 - as above
    parser.add_argument("--profile", help="of the AWS configuration")
    parser.add_argument(
        "--role-arn", dest="hops", action=_RoleAction, metavar="ARN", help="a role to assume; may repeat, for a chain"
    )
    parser.add_argument(
        "--external-id", dest="hops", action=_RoleAction, metavar="ID", help="for the --role-arn before it"
    )
    parser.add_argument(
        "--session-name", dest="hops", action=_RoleAction, metavar="NAME", help="for the --role-arn before it"
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", choices=("text", "json"), default="text")


def _add_token_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="the token, or '-' for stdin (the default)"
    )


class _RoleAction(argparse.Action):
    """Collects the chain: each --role-arn opens a hop, the other two complete it."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,  # noqa: ANN401 - argparse's own signature
        option_string: str | None = None,
    ) -> None:
        hops: list[dict[str, str]] = getattr(namespace, self.dest) or []
        name = (option_string or "").removeprefix("--").replace("-", "_")
        if name == "role_arn":
            hops = [*hops, {"role_arn": values}]
        elif not hops:
            parser.error(f"{option_string} belongs to the --role-arn before it, and there is none")
        elif name in hops[-1]:
            parser.error(f"{option_string} is given twice for {hops[-1]['role_arn']}")
        else:
            hops = [*hops[:-1], {**hops[-1], name: values}]
        setattr(namespace, self.dest, hops)


def role_hops(options: argparse.Namespace) -> tuple[RoleHop, ...]:
    """The chain of the flags. UsageError for what STS could not take."""
    if not options.hops:
        return ()
    from eks_cross_account.credentials import RoleHop  # noqa: PLC0415 - only where a role is assumed

    try:
        return tuple(RoleHop(**hop) for hop in options.hops)
    except CredentialsError as error:
        raise UsageError(str(error)) from None


_PARSERS = {
    "check": _add_check,
    "decode": _add_decode,
    "verify": _add_verify,
    "explain": _add_explain,
    "permissions": _add_permissions,
    "token": _add_token,
    "kubeconfig": _add_kubeconfig,
    "sandbox": _add_sandbox,
    "completions": _add_completions,
}
_COMMANDS = tuple(_PARSERS)


def _cluster_name(text: str) -> str:
    try:
        check_cluster_name(text)
    except ClusterError as error:
        _unfit(error)
    return text


def _region(text: str) -> str:
    try:
        endpoints.partition_of(text)
    except UnknownRegionError as error:
        _unfit(error)
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= _LONGEST:
        raise argparse.ArgumentTypeError(f"{printable(text)} is not 1 to {_LONGEST} seconds")
    return seconds


def _unfit(error: EksTokenError) -> NoReturn:
    raise argparse.ArgumentTypeError(str(error)) from None
