"""``touchstone-server``: found a server, serve it, and bring releases from the offline keys to it.

A mistake of the user is one line on stderr and exit code 2, never a traceback; Ctrl-C is 130.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from runtime.contracts.command import Progress, run_command
from runtime.contracts.errors import Unsupported
from runtime.contracts.sync import target_path
from sync_server.api.callers import Services
from sync_server.app import build_services, create_app
from sync_server.auth import ROLES, add_person
from sync_server.datasets import freeze, write_snapshot
from sync_server.devices import issue_code
from sync_server.export_intake import import_export
from sync_server.exporting import export_release
from sync_server.features import in_parts, load_features, read_lines
from sync_server.founding import FIRST_ADMIN, found_server
from sync_server.patching import Patches
from sync_server.publishing import publish
from sync_server.releases import first_root
from sync_server.schema import utc_now
from sync_server.serving import serve
from sync_server.settings import DEFAULT_AUDIT_SHARE, DEFAULT_LABELS_NEEDED, read_settings, settings_for
from sync_server.signing import sign_bundle

HOME_VARIABLE = "TOUCHSTONE_SERVER_HOME"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; see ``run_command`` for what it returns."""
    return run_command(build_parser(), argv)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = argparse.ArgumentParser(prog="touchstone-server", description="The fleet's other end.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    home = argparse.ArgumentParser(add_help=False)
    home.add_argument(
        "--home",
        type=Path,
        default=Path(os.environ.get(HOME_VARIABLE, "~/.touchstone-server")).expanduser(),
        help=f"folder of this server (default: ${HOME_VARIABLE}, else ~/.touchstone-server)",
    )
    offline = argparse.ArgumentParser(add_help=False)
    offline.add_argument("--offline-keys", type=Path, required=True, help="folder of the root and targets keys")
    bundle = argparse.ArgumentParser(add_help=False)
    bundle.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder")

    init = commands.add_parser("init", parents=[home, offline], help="found a new server and make its keys")
    init.add_argument("--database", metavar="URL", help="postgresql://...; default: a SQLite file in the home")
    init.add_argument("--audit-share", type=float, default=DEFAULT_AUDIT_SHARE, help="0 to 1 (default: %(default)s)")
    init.add_argument(
        "--labels-needed", type=int, default=DEFAULT_LABELS_NEEDED, help="lead that settles a case (default: 2)"
    )
    init.set_defaults(command=_init)

    served = commands.add_parser("serve", parents=[home], help="serve stations and people")
    served.add_argument("--host", default="127.0.0.1", help="address to bind (default: %(default)s)")
    served.add_argument("--port", type=int, default=8300, help="0: any free one (default: %(default)s)")
    served.add_argument("--tls-certificate", type=Path, metavar="PEM", help="serve TLS with this certificate chain")
    served.add_argument("--tls-key", type=Path, metavar="PEM", help="private key of the certificate")
    served.add_argument(
        "--behind-tls-proxy", action="store_true", help="serve others without TLS: a proxy in front of this does it"
    )
    served.set_defaults(command=_serve)

    code = commands.add_parser("enrolment-code", parents=[home], help="print a one-time code for one station")
    code.add_argument("--valid-hours", type=int, default=24, help="1 to 744 (default: %(default)s)")
    code.add_argument(
        "--replace",
        metavar="STATION_ID",
        help="for a new device that takes over this station; its old device is locked out when the code is spent",
    )
    code.set_defaults(command=_enrolment_code)

    person = commands.add_parser("person", parents=[home], help="add somebody and print their token, once")
    person.add_argument("name", metavar="NAME", help="how the person is called in lists")
    person.add_argument("--role", choices=ROLES, required=True, help="what the person may do")
    person.set_defaults(command=_person)

    signed = commands.add_parser("sign", parents=[bundle, offline], help="sign a bundle as the next release")
    signed.add_argument("--floor", type=int, help="releases below it leave the world (default: as before)")
    signed.add_argument("--release", type=int, help="release counter (default: the last one plus 1)")
    signed.set_defaults(command=_sign)

    published = commands.add_parser("publish", parents=[bundle, home], help="publish a signed bundle to the fleet")
    published.set_defaults(command=_publish)

    imported = commands.add_parser(
        "import", parents=[home], help="take in what 'touchstone-agent outbox export' wrote; doing it again is safe"
    )
    imported.add_argument("folder", type=Path, metavar="FOLDER", help="the folder that the station wrote")
    imported.set_defaults(command=_import)

    exported = commands.add_parser(
        "export-release", parents=[home], help="write the newest release into a folder, for stations without a network"
    )
    exported.add_argument("folder", type=Path, metavar="FOLDER", help="an empty or new folder")
    exported.set_defaults(command=_export_release)

    snapshot = commands.add_parser("snapshot", parents=[home], help="write what the experts agreed on as a dataset")
    snapshot.add_argument("--out", type=Path, required=True, help="an empty or new folder")
    snapshot.set_defaults(command=_snapshot)

    features = commands.add_parser("features", help="listing features that stations get before they scan")
    load = features.add_subparsers(metavar="COMMAND", required=True).add_parser(
        "load", parents=[home], help="load rows; the newest of an item stay, so loading a file again is safe"
    )
    load.add_argument(
        "file",
        type=Path,
        metavar="FILE.jsonl",
        help='a line a row: {"item_id": ..., "as_of": ..., "values": {name: number or null}, "station": ID or null}',
    )
    load.set_defaults(command=_load_features)
    return parser


def _init(arguments: argparse.Namespace) -> None:
    settings = settings_for(
        arguments.home,
        database=arguments.database,
        audit_share=arguments.audit_share,
        labels_needed=arguments.labels_needed,
    )
    token = found_server(settings, arguments.offline_keys, arguments.database, utc_now())
    print(f"initialised {settings.home}")
    print(f"offline keys in {arguments.offline_keys.resolve()}: keep a copy, away from this machine")
    print(f"token of {FIRST_ADMIN} (shown this once): {token}")


def _serve(arguments: argparse.Namespace) -> None:
    settings = read_settings(arguments.home)
    if not (arguments.host in LOOPBACK or arguments.tls_certificate or arguments.behind_tls_proxy):
        raise Unsupported(
            f"serve: expected TLS to serve beyond this machine on {arguments.host}; give --tls-certificate, or "
            "--behind-tls-proxy where a proxy in front does TLS"
        )
    serve(create_app(settings), arguments.host, arguments.port, arguments.tls_certificate, arguments.tls_key)


@contextmanager
def _services(home: Path) -> Iterator[Services]:
    services = build_services(read_settings(home))
    with closing(services.store):
        yield services


def _enrolment_code(arguments: argparse.Namespace) -> None:
    with _services(arguments.home) as services, services.store.write() as connection:
        root = first_root(connection)
        code = issue_code(connection, root, arguments.valid_hours, services.now(), replaces=arguments.replace)
    print(code)


def _person(arguments: argparse.Namespace) -> None:
    with _services(arguments.home) as services, services.store.write() as connection:
        token = add_person(connection, arguments.name, arguments.role)
    print(token)


def _sign(arguments: argparse.Namespace) -> None:
    signing = sign_bundle(
        arguments.bundle, arguments.offline_keys, floor=arguments.floor, release=arguments.release, now=utc_now()
    )
    info = signing.release.info
    what = "signed" if signing.new else "already signed"
    print(f"{what}: release {info.release} of {info.name}, floor {info.floor}, bundle {signing.release.bundle_id[:12]}")


def _publish(arguments: argparse.Namespace) -> None:
    with _services(arguments.home) as services:
        patches, keys = Patches(services.settings.patches), services.settings.online_keys
        done = publish(services.store, services.blobs, patches, keys, arguments.bundle, services.now())
    if done.new:
        print(
            f"published: {target_path(done.release.info)}, {done.files_stored} files stored, "
            f"{done.files_kept} were here already; {done.patches} patches"
        )
    else:
        print(f"already published: {target_path(done.release.info)}; nothing changed")


def _import(arguments: argparse.Namespace) -> int:
    with _services(arguments.home) as services:
        taken = import_export(services, arguments.folder, Progress("files"))
    for what, count in (("records", taken.records), ("photos", taken.photos), ("objections", taken.objections)):
        print(f"{what}: {count.new} new, {count.known} known here already")
    print(f"of {taken.station_id}: {len(taken.refused)} refused")
    for line in taken.refused:
        print(f"  {line}", file=sys.stderr)
    return 1 if taken.refused else 0


def _export_release(arguments: argparse.Namespace) -> None:
    with _services(arguments.home) as services:
        keys = services.settings.online_keys
        done = export_release(services.store, services.blobs, keys, arguments.folder, services.now())
    print(
        f"exported: {done.release.target}, {done.files} files, {done.size / 1e6:.1f} MB; stations take it until "
        f"{done.usable_until:%Y-%m-%d %H:%M} UTC: 'touchstone-agent update --from {arguments.folder}'"
    )


def _snapshot(arguments: argparse.Namespace) -> None:
    with _services(arguments.home) as services:
        with services.store.write() as connection:
            frozen, _ = freeze(connection, services.now())
        if not frozen.dataset.items:
            raise Unsupported(
                "snapshot: no case is settled yet; a case settles when the experts' labels lead by "
                f"{services.settings.labels_needed}: label some on the server's page first"
            )
        write_snapshot(frozen, services.blobs, arguments.out)
    dataset = frozen.dataset
    photos = sum(len(item.photos) for item in dataset.items)
    print(
        f"snapshot {frozen.dataset_id[:12]}: {len(dataset.items)} items, {photos} photos; "
        f"{len(dataset.contradicting)} items left out for contradicting outcomes"
    )


def _load_features(arguments: argparse.Namespace) -> None:
    taken = kept = 0
    with _services(arguments.home) as services, arguments.file.open("rb") as file:
        size, progress = os.fstat(file.fileno()).st_size, Progress(f"{arguments.file.name}, bytes")
        for part in in_parts(read_lines(file, arguments.file.name)):
            with services.store.write() as connection:
                loaded = load_features(connection, part, services.now())
            taken, kept = taken + loaded.taken, kept + loaded.kept
            progress(file.tell(), max(size, 1))
    print(f"loaded: {taken} rows; {kept} were not newer than what is here")


if __name__ == "__main__":
    sys.exit(main())
