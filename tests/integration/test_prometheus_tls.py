"""The adapter over TLS: own authorities, client certificates, and certificates that are not accepted."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from sloctl.backends.prometheus.client import Prometheus
from sloctl.errors import BackendTimeout, BackendUnavailable, UsageError
from sloctl.settings.backends import PrometheusSettings
from tests.support.faulty_server import FaultyServer, answer, dripping, vector

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
AT = datetime(2024, 3, 1, 12, tzinfo=UTC)
OK = answer(vector(1))


class Files(NamedTuple):
    """Paths of PEM files: an authority, a server and a client that it signed, and another authority."""

    ca: str
    server: tuple[str, str]
    client: tuple[str, str]
    other_ca: str


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("tls")
    ca, other = _authority(folder, "ca"), _authority(folder, "other")
    server = _signed(folder, "server", ca, "subjectAltName=IP:127.0.0.1")
    client = _signed(folder, "client", ca, "extendedKeyUsage=clientAuth")
    return Files(ca[0], server, client, other[0])


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def _authority(folder: Path, name: str) -> tuple[str, str]:
    cert, key = str(folder / f"{name}.pem"), str(folder / f"{name}.key")
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key)
    _openssl("req", "-x509", *new_key, "-out", cert, "-days", "2", "-subj", f"/CN={name}")
    return cert, key


def _signed(folder: Path, name: str, ca: tuple[str, str], extension: str) -> tuple[str, str]:
    cert, key, request = (str(folder / f"{name}.{end}") for end in ("pem", "key", "csr"))
    (folder / f"{name}.ext").write_text(f"{extension}\n")
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key)
    _openssl("req", *new_key, "-out", request, "-subj", f"/CN={name}")
    signer = ("-CA", ca[0], "-CAkey", ca[1], "-CAcreateserial", "-extfile", str(folder / f"{name}.ext"))
    _openssl("x509", "-req", "-in", request, *signer, "-out", cert, "-days", "2")
    return cert, key


def load(url: str, **variables: str) -> Prometheus:
    environ = {f"SLOCTL_PROMETHEUS_{name}": value for name, value in variables.items()}
    return Prometheus(PrometheusSettings.load(environ, url=url, timeout=5))


def test_an_unknown_authority_is_refused_at_once_and_says_what_to_set(files: Files) -> None:
    with FaultyServer(OK, tls=files.server) as server:
        for variables in ({}, {"CA_FILE": files.other_ca}):
            with load(server.url, **variables) as prometheus:
                with pytest.raises(BackendUnavailable, match="the certificate is not accepted") as caught:
                    prometheus.query("up", AT)
                assert "SLOCTL_PROMETHEUS_CA_FILE" in caught.value.hint
                assert prometheus.queries == 1
        assert server.requests == []


def test_a_trusted_authority_is_accepted(files: Files) -> None:
    with FaultyServer(OK, tls=files.server) as server, load(server.url, CA_FILE=files.ca) as prometheus:
        assert prometheus.query("up", AT)
        assert prometheus.query("up", AT)


def test_an_environment_for_other_programs_does_not_replace_the_authority(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", files.other_ca)
    with FaultyServer(OK, tls=files.server) as server, load(server.url, CA_FILE=files.ca) as prometheus:
        assert prometheus.query("up", AT)


def test_a_name_that_the_certificate_lacks_is_refused(files: Files) -> None:
    with FaultyServer(OK, tls=files.server) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        with (
            load(url, CA_FILE=files.ca) as prometheus,
            pytest.raises(BackendUnavailable, match="certificate"),
        ):
            prometheus.query("up", AT)


def test_verification_can_be_switched_off(files: Files) -> None:
    with FaultyServer(OK, tls=files.server) as server, load(server.url, INSECURE="true") as prometheus:
        assert prometheus.query("up", AT)


def test_a_client_certificate_is_shown_to_the_server(files: Files) -> None:
    cert, key = files.client
    with FaultyServer(OK, tls=files.server, client_ca=files.ca) as server:
        with load(server.url, CA_FILE=files.ca, CERT_FILE=cert, KEY_FILE=key) as prometheus:
            assert prometheus.query("up", AT)
        settings = PrometheusSettings(server.url, ca_file=files.ca, retries=0, timeout=5)
        with Prometheus(settings) as prometheus, pytest.raises(BackendUnavailable):
            prometheus.query("up", AT)


def test_https_to_a_plain_port_is_explained() -> None:
    with FaultyServer(OK) as server, load(server.url.replace("http://", "https://")) as prometheus:
        with pytest.raises(BackendUnavailable, match="no TLS connection") as caught:
            prometheus.query("up", AT)
        assert "is it an https address?" in caught.value.hint


def test_the_deadline_holds_over_tls(files: Files) -> None:
    with (
        FaultyServer(dripping(b"{"), tls=files.server) as server,
        Prometheus(PrometheusSettings(server.url, timeout=0.3, retries=0, ca_file=files.ca)) as prometheus,
        pytest.raises(BackendTimeout),
    ):
        prometheus.query("up", AT)


def test_what_waits_for_tls_to_begin_can_be_cut() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with Prometheus(PrometheusSettings(url, timeout=60, retries=0)) as prometheus:

            def cut() -> None:
                connection, _ = listener.accept()
                with connection:
                    assert connection.recv(1) == b"\x16"  # it greets, and gets no answer
                    prometheus.cancel()
                    over.wait(60)

            over = threading.Event()
            silent = threading.Thread(target=cut)
            silent.start()
            started = time.monotonic()
            try:
                with pytest.raises(BackendUnavailable, match="interrupted"):
                    prometheus.query("up", AT)
                assert time.monotonic() - started < 8  # before the time for a connection is over
            finally:
                over.set()
                silent.join()


def test_an_encrypted_key_is_refused_instead_of_asking_for_its_password(files: Files, tmp_path: Path) -> None:
    cert, key = files.client
    locked = str(tmp_path / "locked.key")
    _openssl("pkcs8", "-topk8", "-in", key, "-out", locked, "-passout", "pass:hunter22")
    with pytest.raises(UsageError, match="SLOCTL_PROMETHEUS_CERT_FILE"):
        load("https://127.0.0.1", CERT_FILE=cert, KEY_FILE=locked)
