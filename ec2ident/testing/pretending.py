"""A test's machine is an EC2 instance, or is not, whatever it runs on: metadata service, firmware and keys together.

The stand-ins are put where the library itself leaves the process (`ec2ident.standin`), so that every entry point meets
them: `is_ec2`, `detect`, `prove`, `verify`, `Imds`, the agent, failover. Processes that the test starts meet them too:
PYTHONPATH leads them to a `sitecustomize` that joins this pretence. Programs with an SDK are pointed at the service by
AWS_EC2_METADATA_SERVICE_ENDPOINT.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import tempfile
from pathlib import Path

from ec2ident import standin
from ec2ident.host import ENVIRONMENT, Host

from .firmware import PRIVATE, fields
from .instance import Instance

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from typing import Any

    from ec2ident.imds.connect import Endpoint
    from ec2ident.proof.trust import TrustStore

    from .service import MetadataService
    from .signing import Authority

ENDPOINT, MODE = "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"
DISABLED = "AWS_EC2_METADATA_DISABLED"

#: How the kernel names the architectures that identity documents name.
_KERNEL_NAMES = {"arm64": "aarch64", "i386": "i686", "x86_64_mac": "x86_64", "arm64_mac": "arm64"}

#: What `sitecustomize` does in a process that the test starts: join, then run the sitecustomize that this one hides.
_SITECUSTOMIZE = """\
import os, sys
here = os.path.dirname(os.path.abspath(__file__))
try:
    from ec2ident.testing.pretending import join
except ImportError:  # a Python without ec2ident, which has nothing to be pretended to
    pass
else:
    join(os.path.join(os.path.dirname(here), "pretence.json"))
from importlib.machinery import PathFinder
hidden = PathFinder.find_spec("sitecustomize", [path for path in sys.path if os.path.abspath(path or ".") != here])
if hidden is not None and hidden.loader is not None:
    from importlib.util import module_from_spec
    hidden.loader.exec_module(module_from_spec(hidden))
"""

_authority: Authority | None = None


@contextlib.contextmanager
def pretend(
    instance: Instance | None = Instance(),  # noqa: B008  a frozen value
    *,
    firmware: str | Mapping[str, str] | None = None,
    service: MetadataService | None = None,
    authority: Authority | None = None,
) -> Iterator[MetadataService]:
    """While the context lasts, this machine is `instance` to this package and to SDKs; None: it is not EC2.

        with pretend(Instance(region="us-west-2")) as imds:
            imds.behave("hop-limit")
            assert ec2ident.is_ec2()

    It yields the metadata service, which can be steered as any other; with `instance` None it is stopped, and nothing
    answers at EC2's addresses until the test starts it. `firmware` is `nitro` (an instance's default), `xen`, `qemu`
    (the default without an instance), `none`, or a mapping of the names under /sys/class/dmi/id to texts. `service` is
    one that runs already, and its instance counts. `authority` can be shared between pretences; the default is the
    process's own. Raises ValueError for firmware that does not exist, or is an instance's where there is none.

    No connection of this package reaches EC2's true addresses meanwhile. It reaches started processes too if they are
    Pythons that get this process's environment and do not ignore it (`python -I`, `-E`).
    """
    if service is not None:
        instance = service.instance
    found = fields(firmware or ("qemu" if instance is None else "nitro"), instance)
    with contextlib.ExitStack() as stack:
        top = Path(tempfile.mkdtemp(prefix="ec2ident-"))
        stack.callback(shutil.rmtree, top, ignore_errors=True)
        if service is None:
            service = stack.enter_context(_service(instance, authority))
        closed = stack.enter_context(_closed_port())
        endpoint = service.endpoint if instance is not None else closed
        stack.enter_context(_stand_ins(service, str(top / "root")))

        def write(service: MetadataService = service) -> None:
            _write_machine(top, found if instance is None else fields(firmware or "nitro", service.instance))
            _write_pretence(top, service)

        write()
        service.observers.append(write)
        stack.callback(service.observers.remove, write)
        path = os.pathsep.join([str(top / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
        stack.enter_context(_environment({ENDPOINT: f"{endpoint}/", MODE: None, DISABLED: None, "PYTHONPATH": path}))
        yield service


@contextlib.contextmanager
def redirected(service: MetadataService) -> Iterator[None]:
    """While the context lasts, EC2's metadata addresses lead to this service, for this process and for SDKs."""
    with (
        _put(dial=_dialer(service.endpoints)),
        _environment({ENDPOINT: f"{service.endpoint}/", MODE: None, DISABLED: None}),
    ):
        yield


def join(path: str) -> None:
    """Take part in the pretence of the process that wrote this file. For the `sitecustomize` that `pretend` writes."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError:  # the test has ended, and with it the pretence; a process that outlives it reaches nothing
        standin.dial = _dialer(())
        return
    standin.dial = _dialer(data["endpoints"])
    standin.host = lambda root: PretendedHost(root, data["root"], data["machine"], data["addresses"], data["macs"])
    standin.trust = _Trust(lambda: data["certificates"])


class PretendedHost(Host):
    """A Linux machine with these files, this architecture and these interfaces; it starts no programs.

    `root` is what the caller asked for: another directory than `/` is looked at as it is.
    """

    def __init__(
        self, root: str, pretended: str, machine: str, addresses: Collection[str], macs: Collection[str]
    ) -> None:
        environ = {name: text for name, text in os.environ.items() if name not in ENVIRONMENT}
        super().__init__(
            pretended if root == "/" else root, platform="linux", environ=environ, privileged=False, run=_no_program
        )
        self._machine, self._addresses, self._macs = machine, addresses, macs

    def boot_id(self) -> None:
        """None: verdicts about it are not remembered."""

    def machine(self) -> str:
        """The architecture, as the kernel calls it."""
        return self._machine

    def interfaces(self) -> tuple[Collection[str], Collection[str]]:
        """The addresses and MACs of the instance."""
        return self._addresses, self._macs


class _Trust:
    """The bundled keys, and for the instance's region the authority's instead; made when they are first needed."""

    def __init__(self, certificates: Callable[[], Sequence[Mapping[str, str]]]) -> None:
        self._certificates = certificates
        self._made: tuple[Sequence[Mapping[str, str]], TrustStore] | None = None

    def __call__(self) -> TrustStore:
        from ec2ident.proof.trust import TrustStore

        certificates = self._certificates()
        if self._made is None or self._made[0] != certificates:
            mine, standin.trust = standin.trust, None
            try:
                store = TrustStore.bundled()
                for one in certificates:
                    store = store.with_certificate(
                        one["pem"], region=one["region"], kind=one["kind"], partition=one["partition"]
                    )
            finally:
                standin.trust = mine
            self._made = (certificates, store)
        return self._made[1]


def _certificates(service: MetadataService) -> list[dict[str, str]]:
    """The arguments of `TrustStore.with_certificate` for the authority of a service."""
    from ec2ident.model import Kind

    place = {"region": service.instance.region, "partition": service.instance.partition.name}
    return [{"pem": service.authority.certificate(kind), "kind": str(kind), **place} for kind in Kind]


def _machine_of(instance: Instance) -> tuple[str, list[str], list[str]]:
    """Architecture, addresses and MACs."""
    addresses = [address for one in instance.interfaces for address in (*one.private_ips, *one.ipv6s)]
    kernel = _KERNEL_NAMES.get(instance.architecture, instance.architecture)
    return kernel, addresses, [interface.mac for interface in instance.interfaces]


def _stand_ins(service: MetadataService, root: str) -> contextlib.AbstractContextManager[None]:
    def host(asked: str) -> Host:
        return PretendedHost(asked, root, *_machine_of(service.instance))

    # A stopped service refuses, as a machine does that has the address and no service; not EC2 has no route to it.
    return _put(dial=_dialer_of(service), host=host, trust=_Trust(lambda: _certificates(service)))


def _dialer_of(service: MetadataService) -> Callable[[Endpoint], Endpoint | None]:
    return lambda endpoint: _dialer(service.endpoints if service.running else ())(endpoint)


def _dialer(urls: Sequence[str]) -> Callable[[Endpoint], Endpoint | None]:
    """Leads EC2's IPv4 address to the first of the services, its IPv6 address to the first with an IPv6 address.

    Any spelling of an address and any port counts. Every other endpoint stays what it is.
    """
    import ipaddress

    from ec2ident.imds.connect import METADATA_IPV4, METADATA_IPV6, Endpoint

    targets = [Endpoint.parse(url) for url in urls]
    true = {
        ipaddress.ip_address(METADATA_IPV4.address): next(iter(targets), None),
        ipaddress.ip_address(f"::ffff:{METADATA_IPV4.address}"): None,
        ipaddress.ip_address(METADATA_IPV6.address): next((one for one in targets if ":" in one.address), None),
    }
    return lambda endpoint: true.get(ipaddress.ip_address(endpoint.address), endpoint)


def _no_program(argv: Sequence[str], seconds: float) -> bytes:
    from ec2ident.errors import FirmwareError

    raise FirmwareError(f"{argv[0]}: not on a pretended machine")


@contextlib.contextmanager
def _service(instance: Instance | None, authority: Authority | None) -> Iterator[MetadataService]:
    """A service for the instance; without one it is made, and stopped."""
    from .service import MetadataService

    service = MetadataService(instance, authority=authority or _shared_authority(instance))
    with service:
        if instance is None:
            service.stop()
        yield service


def _shared_authority(instance: Instance | None) -> Authority | None:
    """One authority for all pretences of a process, because making its keys takes a moment; None in aws-cn."""
    global _authority
    if instance is not None and instance.partition.name == "aws-cn":
        return None
    if _authority is None:
        from .signing import Authority

        _authority = Authority()
    return _authority


@contextlib.contextmanager
def _closed_port() -> Iterator[str]:
    """The URL of a loopback port that refuses: it is bound, so that no other process can listen, and not listening."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def _write_machine(top: Path, found: Mapping[str, str]) -> None:
    """The files of the machine under `root`, as its kernel shows them."""
    (top / "root" / "sys" / "class").mkdir(parents=True, exist_ok=True)
    for name, text in found.items():
        path = top / "root" / "sys" / "class" / "dmi" / "id" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(f"{text}\n", encoding="utf-8")
        path.chmod(0o400 if name in PRIVATE else 0o444)


def _write_pretence(top: Path, service: MetadataService) -> None:
    """What a process that the test starts needs to know, and the `sitecustomize` that reads it."""
    machine, addresses, macs = _machine_of(service.instance)
    data = {
        "endpoints": list(service.endpoints) if service.running else [],
        "root": str(top / "root"),
        "machine": machine,
        "addresses": addresses,
        "macs": macs,
        "certificates": _certificates(service),
    }
    (top / "pretence.new").write_text(json.dumps(data), encoding="utf-8")
    os.replace(top / "pretence.new", top / "pretence.json")  # a process that starts meanwhile reads one of the two
    (top / "site").mkdir(exist_ok=True)
    (top / "site" / "sitecustomize.py").write_text(_SITECUSTOMIZE, encoding="utf-8")


@contextlib.contextmanager
def _put(**stand_ins: Any) -> Iterator[None]:
    """Set attributes of `ec2ident.standin`, and put back what stood there."""
    before = {name: getattr(standin, name) for name in stand_ins}
    try:
        for name, value in stand_ins.items():
            setattr(standin, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(standin, name, value)


@contextlib.contextmanager
def _environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    """Change environment variables (None removes one), and put back what they were."""
    before = {name: os.environ.get(name) for name in changes}
    try:
        _set(changes)
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
