"""What a node of a cluster pays: a fake API over TLS with an authority to throw away, and an instance role.

The certificates to trust are those of the system and one more, so that loading them costs what it costs on a node.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

from ec2ident.testing import Instance, Interface, MetadataService

TOP = Path(__file__).resolve().parents[2]
ADDRESS, REGION = "192.168.10.5", "us-east-1"


class TlsLab:
    """Two route tables, of which `act` moves an address's routes to this node and away again."""

    def __init__(self, directory: Path, python: str, environment: dict[str, str]) -> None:
        self.directory, self.python, self.environment = directory, python, environment

    def __enter__(self) -> TlsLab:
        keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
        self.fake = subprocess.Popen(
            [sys.executable, "-m", "tests.failover.fake"],
            cwd=TOP,
            env={**self.environment, **keys},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.fake.stdout
        said = json.loads(self.fake.stdout.readline())
        self.url, self.lab = said["url"], said["lab"]
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, args=(self._tls(),), daemon=True).start()
        mac = Path("/sys/class/net/eth0/address").read_text(encoding="ascii").strip()
        eth0 = Interface(mac=mac, interface_id=self.lab["eni1"])
        self.metadata = MetadataService(
            Instance(region=REGION, instance_id=self.lab["node1"], interfaces=(eth0,))
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.metadata.stop()
        self.fake.terminate()
        self.fake.wait()
        self.listener.close()

    def act(self, action: str, level: int) -> float:
        """One action of `ocf:ec2ident:overlay`; returns its milliseconds. Raises SystemExit where it fails."""
        if action == "start":
            self._elsewhere()
        parameters = {
            "address": ADDRESS,
            "tables": ",".join(self.lab["tables"]),
            "interface": "eth0",
            "region": REGION,
            "instance": self.lab["node1"],
            "endpoint": f"https://127.0.0.1:{self.listener.getsockname()[1]}",
        }
        environment = {
            **self.environment,
            "HOME": str(self.directory),
            "SSL_CERT_FILE": str(self.directory / "trusted.pem"),
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": str(self.metadata.endpoint),
            "OCF_ROOT": "/usr/lib/ocf",
            "OCF_RESOURCE_INSTANCE": "db",
            "OCF_RESKEY_CRM_meta_timeout": "30000",
            "OCF_RESKEY_CRM_meta_interval": "10000",
            **({"OCF_CHECK_LEVEL": str(level)} if level else {}),
            **{f"OCF_RESKEY_{name}": value for name, value in parameters.items()},
        }
        words = [self.python, str(TOP / "agent/bin/ec2ident-ocf"), "overlay", action]
        began = time.perf_counter()
        done = subprocess.run(
            [*words, "--state-dir", str(self.directory / "state")], env=environment, capture_output=True, text=True
        )
        took = (time.perf_counter() - began) * 1000
        if done.returncode:
            raise SystemExit(f"{action}: exit code {done.returncode}\n{done.stderr}")
        return took

    def _elsewhere(self) -> None:
        """The routes go to the other node."""
        head = {"Authorization": f"AWS4-HMAC-SHA256 Credential=T/20260101/{REGION}/ec2/aws4_request, x"}
        for table in self.lab["tables"]:
            form = {
                "Action": "ReplaceRoute",
                "Version": "2016-11-15",
                "DestinationCidrBlock": f"{ADDRESS}/32",
                "RouteTableId": table,
                "NetworkInterfaceId": self.lab["eni2"],
            }
            asked = urllib.request.Request(self.url, urllib.parse.urlencode(form).encode(), head)
            urllib.request.urlopen(asked, timeout=10).close()

    def _tls(self) -> ssl.SSLContext:
        """A server's context, with a certificate that the programs under test trust."""
        own, key = self.directory / "own.pem", self.directory / "key.pem"
        words = f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {key} -out {own} -days 2 -subj /CN=throw-away"
        words += " -addext subjectAltName=IP:127.0.0.1"
        subprocess.run(words.split(), check=True, stderr=subprocess.DEVNULL)
        system = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
        known = Path(system).read_text(encoding="utf-8") if Path(system).is_file() else ""
        (self.directory / "trusted.pem").write_text(known + own.read_text(encoding="utf-8"), encoding="utf-8")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(own, key)
        return context

    def _serve(self, context: ssl.SSLContext) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(connection, context), daemon=True).start()

    def _forward(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        """TLS ends here; the fake gets what was inside."""
        host, _, port = self.url.rpartition("://")[2].partition(":")
        try:
            client = context.wrap_socket(connection, server_side=True)
        except OSError:
            return
        server = socket.create_connection((host, int(port)))
        threading.Thread(target=_pump, args=(server, client), daemon=True).start()
        _pump(client, server)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
    except OSError:
        pass
    for each in (source, sink):
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue
