"""The command `rapport`. Each subcommand imports only what it needs."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.local.errors import LocalError
from libs.common.contracts.registry import SERVICES


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(prog="rapport", description="Rapport: a self-hosted customer engagement platform.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run the whole platform on this machine, until Ctrl-C")
    run.add_argument("--log", choices=("postgres", "kafka"), default="postgres", help="which log the services read")
    commands.add_parser("kafka", help="run Apache Kafka alone on this machine, until Ctrl-C")
    token = commands.add_parser("token", help="print a token signed with this installation's own key")
    what = token.add_mutually_exclusive_group(required=True)
    what.add_argument("--scope", help="such as 'rewards:read rewards:write'")
    what.add_argument("--role", choices=("marketer", "analyst", "operator"), help="the scopes of a role")
    what.add_argument(
        "--customer", metavar="REF", help="a customer's own token, as a business's backend signs it: user:ann"
    )
    token.add_argument("--ttl", type=int, help="seconds until it expires (default: 12 h; a customer's: 1 h)")
    token.add_argument("--sub", default="development", help="the subject of the token")
    token.add_argument("--key", type=Path, help="the private key (default: the one in RAPPORT_HOME, made if missing)")
    commands.add_parser("migrate", help="migrate the databases that the environment names to the newest schema")
    rewind = commands.add_parser("rewind", help="send a topic's records to Kafka again, from an offset on")
    rewind.add_argument("service", choices=SERVICES[1:], help="the service that writes the topic")
    rewind.add_argument("--to", type=int, required=True, metavar="OFFSET", help="the first record to send again")
    rewind.add_argument("--partition", type=int, help="only this one (default: all that are past the offset)")
    epoch = commands.add_parser("epoch", help="begin a new epoch of a topic whose database was restored from a backup")
    epoch.add_argument("service", choices=SERVICES[1:], help="the service that writes the topic")
    epoch.add_argument("--partition", type=int, help="only this one (default: all)")
    readers = commands.add_parser("readers", help="list the readers of the log in PostgreSQL, with their positions")
    readers.add_argument(
        "--service",
        choices=SERVICES,
        default="profile",
        help="the service whose database to look in (default: profile)",
    )
    readers.add_argument(
        "--expire", metavar="READER", help="keep no records for this reader any more, such as triggers/fold"
    )
    commands.add_parser("import", help="send a file of history to ingest (--help shows its options)", add_help=False)
    commands.add_parser(
        "demo", help="send real purchases through the whole platform (--help shows its options)", add_help=False
    )
    commands.add_parser("move-to-kafka", help="close ingest.events in PostgreSQL, to continue with RAPPORT_LOG=kafka")
    commands.add_parser("replay", help="fold the journal again beside the live state, and compare", add_help=False)
    commands.add_parser("rebuild", help="rebuild one service's state from the journal, and swap it in", add_help=False)
    commands.add_parser("reference", help="print the tables of settings and metrics", add_help=False)
    commands.add_parser("topics", help="print the tables of topics, record types and scopes", add_help=False)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 failed, 2 wrong usage, 128 + n ended by signal n."""
    words = list(sys.argv[1:] if argv is None else argv)
    options, rest = parser().parse_known_args(words)
    if rest and options.command not in ("demo", "import", "reference", "topics", "replay", "rebuild"):
        parser().error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return command(options, rest)
    except LocalError as error:
        print(f"rapport {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def command(options: argparse.Namespace, rest: list[str]) -> int:
    """Run one command. It is imported only here, so that each works without the others."""
    match options.command:
        case "run":
            from deploy.local import runner

            return runner.run(options.log)
        case "kafka":
            from deploy.local import runner

            return runner.kafka()
        case "token":
            return token(options)
        case "migrate":
            from services import migrate

            return migrate.main()
        case "rewind":
            from deploy import operators

            return operators.rewind(options.service, options.to, options.partition)
        case "epoch":
            from deploy import operators

            return operators.epoch(options.service, options.partition)
        case "readers":
            from deploy import operators

            return operators.readers(options.service, options.expire)
        case "import":
            from deploy.importer import main as importer

            return importer.main(rest)
        case "demo":
            from deploy.demo import main as demo

            return demo.main(rest)
        case "replay":
            from deploy.replay import main as replay

            return replay.main(rest)
        case "move-to-kafka":
            from deploy.replay import move

            return move.main()
        case "rebuild":
            from deploy.replay import rebuild

            return rebuild.main(rest)
        case "reference":
            from deploy import reference

            return reference.main()
        case _:
            from libs.common.contracts import types_table

            return types_table.main()


def token(options: argparse.Namespace) -> int:
    """Print one token. Raises LocalError for an unknown scope, or a key that cannot sign."""
    from deploy.local import place, tokens
    from libs.common.contracts.registry import OWN_SCOPES, SCOPES

    ttl = options.ttl if options.ttl is not None else 3600 if options.customer else tokens.TTL
    if unknown := [scope for scope in (options.scope or "").split() if scope not in SCOPES]:
        raise LocalError(f"There is no scope {' or '.join(unknown)}; the scopes are {', '.join(SCOPES)}.")
    if ttl < 1:
        raise LocalError(f"A token cannot be valid for {ttl} seconds: give a --ttl of 1 or more.")
    key = options.key
    if key is None:
        home = place.Place.load().home
        place.make_home(home)
        if tokens.make_keys(home):
            said = f"Made a new key in {home}: only services that run with this RAPPORT_HOME accept the token."
            print(said, file=sys.stderr)
        key = (tokens.customer_private_key_file if options.customer else tokens.private_key_file)(home)
    if options.customer:
        print(tokens.mint_customer(key, " ".join(OWN_SCOPES), options.customer, ttl))
    else:
        print(tokens.mint(key, options.scope or tokens.ROLES[options.role], options.sub, ttl))
    return 0


if __name__ == "__main__":
    sys.exit(main())
