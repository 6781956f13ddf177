"""Time stamps, by an authority of our own on the loopback interface."""

from __future__ import annotations

import datetime as dt
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import algos, cms, core, tsp
from asn1crypto import x509 as asn1x509
from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from governed_db.audit import stamp
from tests.audit.trails import checked, flip, kinds, sequencer, write

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)


def certificate(
    name: str, key: ec.EllipticCurvePrivateKey, by: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if by is None else by[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - dt.timedelta(days=1))
        .not_valid_after(NOW + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
    )
    if by is not None:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(key if by is None else by[1], hashes.SHA256())


@define(slots=False)
class Authority:
    """A time stamp authority; ``imprint`` and ``status`` let it misbehave."""

    asked: int = 0
    status: int = 0
    imprint: bytes = b""
    url: str = ""
    root_key: ec.EllipticCurvePrivateKey = field(factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    key: ec.EllipticCurvePrivateKey = field(factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __attrs_post_init__(self) -> None:
        self.root = certificate("root", self.root_key, None)
        self.own = certificate("authority", self.key, (self.root, self.root_key))

    def pem(self, path: Path) -> Path:
        data = b"".join(c.public_bytes(serialization.Encoding.PEM) for c in (self.own, self.root))
        path.write_bytes(data)
        return path

    def answer(self, query: bytes) -> bytes:
        self.asked += 1
        if self.status:
            # A status and nothing else, which the library insists on adding to.
            return bytes([0x30, 5, 0x30, 3, 2, 1, self.status])
        asked = tsp.TimeStampReq.load(query)
        imprint = asked["message_imprint"].native["hashed_message"]
        digest = algos.DigestAlgorithm({"algorithm": "sha256"})
        info = tsp.TSTInfo(
            {
                "version": "v1",
                "policy": "1.2.3.4",
                "message_imprint": {"hash_algorithm": digest, "hashed_message": self.imprint or imprint},
                "serial_number": self.asked,
                "gen_time": NOW,
                "nonce": asked["nonce"].native,
            }
        ).dump()
        der = self.own.public_bytes(serialization.Encoding.DER)
        cert = asn1x509.Certificate.load(der)
        attributes = cms.CMSAttributes(
            [
                {"type": "content_type", "values": ["tst_info"]},
                {"type": "message_digest", "values": [hashlib.sha256(info).digest()]},
                {
                    "type": "signing_certificate_v2",
                    "values": [{"certs": [{"cert_hash": hashlib.sha256(der).digest()}]}],
                },
            ]
        )
        signed = self.key.sign(attributes.dump(), ec.ECDSA(hashes.SHA256()))
        content: Any = {
            "version": "v3",
            "digest_algorithms": [digest],
            "encap_content_info": {"content_type": "tst_info", "content": core.ParsableOctetString(info)},
            "certificates": [cert],
            "signer_infos": [
                {
                    "version": "v1",
                    "sid": {
                        "issuer_and_serial_number": {
                            "issuer": cert.issuer,
                            "serial_number": cert.serial_number,
                        }
                    },
                    "digest_algorithm": digest,
                    "signed_attrs": attributes,
                    "signature_algorithm": {"algorithm": "sha256_ecdsa"},
                    "signature": signed,
                }
            ],
        }
        token = {"content_type": "signed_data", "content": cms.SignedData(content)}
        return tsp.TimeStampResp(  # type: ignore[no-any-return]
            {"status": {"status": "granted"}, "time_stamp_token": token}
        ).dump()


@pytest.fixture
def authority() -> Iterator[Authority]:
    made = Authority()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/timestamp-query"
            body = made.answer(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}/"
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def test_checkpoints_are_stamped_and_the_stamps_verify_offline(
    folder: Path, authority: Authority, tmp_path: Path
) -> None:
    write(folder, 20)
    keeper = sequencer(folder, stamp=stamp.stamper(authority.url, interval=0.0))
    keeper.checkpoint()
    write(folder, 20)
    keeper.checkpoint()
    assert keeper.failures == 0
    report = checked(folder)
    stamp.verify_stamps(folder, authority.pem(tmp_path / "tsa.pem"), report)
    assert report.valid, report.findings
    assert len(report.stamps) == 2
    assert f"existed at {NOW:%Y-%m-%dT%H:%M:%SZ}" in report.stamps[0]


def test_a_stamp_of_another_authority_or_a_changed_one_is_named(
    folder: Path, authority: Authority, tmp_path: Path
) -> None:
    write(folder, 20)
    sequencer(folder, stamp=stamp.stamper(authority.url)).checkpoint()
    report = checked(folder)
    stamp.verify_stamps(folder, Authority().pem(tmp_path / "tsa.pem"), report)
    assert kinds(report) == {"time stamp"}
    (path,) = (folder / "log" / "timestamps").iterdir()
    flip(path, path.stat().st_size - 5)
    report = checked(folder)
    stamp.verify_stamps(folder, authority.pem(tmp_path / "tsa.pem"), report)
    assert kinds(report) == {"time stamp"}


def test_a_stamp_outlives_the_checkpoint_that_was_taken_away(
    folder: Path, authority: Authority, tmp_path: Path
) -> None:
    write(folder, 20)
    keeper = sequencer(folder, stamp=stamp.stamper(authority.url))
    keeper.checkpoint()
    (folder / "log" / "checkpoints").write_bytes(b"")
    report = checked(folder)
    stamp.verify_stamps(folder, authority.pem(tmp_path / "tsa.pem"), report)
    assert kinds(report) == {"time stamp", "stripped"}


def test_an_authority_that_refuses_or_is_gone_keeps_no_checkpoint_back(
    folder: Path, authority: Authority
) -> None:
    for harm in ({"status": 2}, {"imprint": bytes(32)}):
        for name, value in harm.items():
            setattr(authority, name, value)
        with pytest.raises(stamp.NoStamp):
            stamp.ask(b"a note", authority.url)
        authority.status, authority.imprint = 0, b""
    write(folder, 20)
    keeper = sequencer(folder, stamp=stamp.stamper("http://127.0.0.1:9/"))
    assert keeper.checkpoint() is not None
    assert keeper.failures == 1
    assert checked(folder).valid


def test_stamps_are_asked_for_at_intervals(folder: Path, authority: Authority) -> None:
    keeper = sequencer(folder, stamp=stamp.stamper(authority.url, interval=3600))
    for _ in range(3):
        write(folder, 5)
        keeper.checkpoint()
    assert authority.asked == 1
    with pytest.raises(ValueError, match="https"):
        stamp.stamper("file:///etc/passwd")
