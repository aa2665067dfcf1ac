"""The options of `moeclip-med pacs`, and how an address with its secrets is read from them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from moeclip_transforms.errors import InputError
from moeclip_transforms.naming import reason

from moeclip_med.cli.console import print_warning

if TYPE_CHECKING:
    from moeclip_med.batch.pacs.http import PacsAddress

STORED_RESULTS = "seg,sr,sc"
KEPT_RESULTS = "nifti,json,csv,report,run"
_LONGEST_SECRET = 65_536
_SECRET_VARIABLES = ("MOECLIP_MED_PACS_URL", "MOECLIP_MED_PACS_PASSWORD", "MOECLIP_MED_PACS_TOKEN")

UrlOption = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="MOECLIP_MED_PACS_URL",
        help="Base of its DICOMweb services, e.g. https://pacs.example/dicom-web.",
    ),
]
UserOption = Annotated[
    str,
    typer.Option(
        envvar="MOECLIP_MED_PACS_USER",
        help="User for basic authentication; the password is in MOECLIP_MED_PACS_PASSWORD or --password-file.",
    ),
]
PasswordOption = Annotated[Path | None, typer.Option("--password-file", help="A file that holds the password alone.")]
TokenOption = Annotated[
    Path | None,
    typer.Option("--token-file", help="A file that holds a bearer token; or set MOECLIP_MED_PACS_TOKEN."),
]
BundleOption = Annotated[
    Path | None, typer.Option("--ca-bundle", help="Certificates of the authority that signed the server's.")
]
CertificateOption = Annotated[
    Path | None, typer.Option("--client-certificate", help="Client certificate with its key, PEM.")
]
StoreOption = Annotated[bool, typer.Option("--store", help="Store DICOM results in the PACS.")]
NodeOption = Annotated[
    str | None, typer.Option("--c-store", help="Send DICOM results by C-STORE to TITLE@host:port instead.")
]
ResultsOption = Annotated[
    str | None,
    typer.Option(
        help="Comma-separated: nifti, json, csv, report, run, seg, pm, sr, sc, rtstruct.",
        show_default=f"{STORED_RESULTS} to store, {KEPT_RESULTS} to keep",
    ),
]
FilterOption = Annotated[
    list[str] | None, typer.Option("--filter", help='Score only series that meet this, e.g. "modality=CT,MR".')
]
SelectOption = Annotated[
    Path | None, typer.Option("--select", help="Rules (YAML) that choose among the series of a study.")
]
MemoryOption = Annotated[
    float | None,
    typer.Option(min=0.5, help="Memory for scoring, GiB.", show_default="four fifths of what is free"),
]
TimeOption = Annotated[float, typer.Option(min=1.0, help="Longest time for one series, s.")]


def read_address(
    url: str,
    user: str,
    password_file: Path | None,
    token_file: Path | None,
    ca_bundle: Path | None,
    client_certificate: Path | None,
) -> PacsAddress:
    """Return the address of a PACS, with the secrets from files or the environment.

    Raises:
        InputError: If a file cannot be read, or holds nothing.
    """
    from moeclip_med.batch.pacs.http import PacsAddress

    password = read_secret(password_file, "--password-file", "MOECLIP_MED_PACS_PASSWORD")
    token = read_secret(token_file, "--token-file", "MOECLIP_MED_PACS_TOKEN")
    for variable in _SECRET_VARIABLES:  # the processes that read strangers' files need not know them
        os.environ.pop(variable, None)
    address = PacsAddress(url, user, password, token, ca_bundle, client_certificate)
    is_plain = address.url.startswith("http:")
    for option, is_given, why in (
        ("the password", bool(password) and not address.user, "no --user is named"),
        ("--user", bool(address.user and token), "the token is used instead"),
        ("--ca-bundle", ca_bundle is not None and is_plain, "--url is not https"),
        ("--client-certificate", client_certificate is not None and is_plain, "--url is not https"),
    ):
        if is_given:
            print_warning(f"{option} has no effect: {why}")
    return address


def read_secret(path: Path | None, option: str, variable: str) -> str:
    """Return a password or token from a file or the environment; the command line would show it to every user.

    Raises:
        InputError: If the file cannot be read, or holds nothing.
    """
    if path is None:
        return os.environ.get(variable, "")
    try:
        with path.open("rb") as stream:
            content = stream.read(_LONGEST_SECRET)
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
        secret = content.decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f'{option} "{path}" cannot be read ({reason(error)}); check the path and its permissions'
        ) from error
    if not secret:
        raise InputError(f'{option} "{path}" is empty; write the secret into it, and nothing else')
    if os.name == "posix" and mode & 0o077:
        print_warning(f'{option} "{path}" can be read by others; run: chmod 600 "{path}"')
    return secret
