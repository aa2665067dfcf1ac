"""Patients, passwords and tokens go to the PACS that was named, and nowhere else."""

from __future__ import annotations

import os
import warnings
from base64 import b64encode

import pytest
from moeclip_transforms.errors import InputError, NoticeWarning
from pacs_jobs import pacs_job
from puppet import Puppet
from puppet_watch import connect, study

from moeclip_med.batch.pacs.dicomweb import PacsError, PacsServer
from moeclip_med.batch.pacs.http import PacsAddress


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_an_object_is_never_sent_on_to_another_host(puppet, tmp_path, status):
    other = Puppet()
    try:
        puppet.faults.redirect["POST"] = (f"{other.url}/studies/1.2", status)
        uid, _ = study(puppet, tmp_path / "a")
        server = connect(puppet.url)
        with pacs_job(server, tmp_path / "job", destination=server) as job:
            (result,) = job.score_study(uid)
        assert "which is not followed" in result.error
        assert other.asked == []
        assert other.stored == []
    finally:
        other.close()


@pytest.mark.parametrize("target", ["http://elsewhere.invalid/x", "https://127.0.0.1:1/x", "ftp://a/b", "//b.invalid/"])
def test_a_question_is_not_sent_on_to_another_place_either(puppet, target):
    puppet.faults.redirect["GET"] = (target, 302)
    with pytest.raises(PacsError, match="which is not followed"):
        connect(puppet.url, token="secret").find_studies({})  # noqa: S106
    assert len(puppet.asked) == 1


def test_a_circle_of_redirects_ends(puppet):
    puppet.faults.redirect["GET"] = ("/dicom-web/studies", 302)
    with pytest.raises(PacsError, match="redirects more than"):
        connect(puppet.url).find_studies({})


def test_the_password_in_the_address_is_used_and_never_shown(puppet):
    address = PacsAddress(puppet.url.replace("://", "://reader:let%20me%20in@"))
    assert address.url == puppet.url
    assert "let me" not in repr(address)
    puppet.faults.status["studies"] = 403
    with pytest.raises(PacsError) as caught:
        PacsServer(address).find_studies({})
    assert "let me" not in str(caught.value)
    assert puppet.asked[0][2] == "Basic " + b64encode(b"reader:let me in").decode()


def test_netrc_is_never_asked(puppet, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    connect(puppet.url, token="ours").find_studies({})  # noqa: S106
    connect(puppet.url).find_studies({})
    assert {authorization for _, _, authorization in puppet.asked} == {"Bearer ours", ""}


@pytest.mark.parametrize(
    ("url", "is_told"),
    [("http://pacs.example/dw", True), ("https://pacs.example/dw", False), ("http://localhost:8042/dw", False)],
)
def test_a_password_over_plain_http_is_told_but_on_loopback(url, is_told):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", NoticeWarning)
        PacsServer(PacsAddress(url, user="a", password="b"))  # noqa: S106
    assert bool(caught) == is_told


@pytest.mark.parametrize("secret", ["a\r\nX-Evil: 1", "a\x00b"])
def test_a_secret_that_would_end_a_header_is_refused(secret):
    with pytest.raises(InputError, match="control character"):
        PacsAddress("https://pacs.example", token=secret)


def test_a_secret_comes_from_a_file_and_one_that_others_can_read_is_told(tmp_path, capsys, caplog):
    from moeclip_med.cli.pacs_options import read_secret

    path = tmp_path / "token"
    path.write_text("abc\n")
    path.chmod(0o644)
    assert read_secret(path, "--token-file", "NOBODY_SETS_THIS") == "abc"
    if os.name == "posix":
        assert "can be read by others" in caplog.text
    path.write_text("")
    with pytest.raises(InputError, match="is empty"):
        read_secret(path, "--token-file", "NOBODY_SETS_THIS")


def test_a_secret_that_is_no_text_is_not_quoted(tmp_path):
    from moeclip_med.cli.pacs_options import read_secret

    (tmp_path / "token").write_bytes(b"abc\xff")
    with pytest.raises(InputError, match="another encoding") as caught:
        read_secret(tmp_path / "token", "--token-file", "NONE")
    assert "0xff" not in str(caught.value)
