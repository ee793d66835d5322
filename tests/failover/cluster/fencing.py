"""Machines under Pacemaker and Corosync with fencing: this process holds their plugs."""

from __future__ import annotations

import threading
from contextlib import contextmanager

from tests.lab.enclosure import wait_until

from .pair import API, start_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.lab.enclosure import Enclosure

    from .pair import Lab, Machine

#: The file with the board's tag. On an instance of EC2 it would name that instance, and not the node of this lab.
TAG = "/sys/devices/virtual/dmi/id/board_asset_tag"

#: A switch of the power: it asks for it by a file, and waits for the answer. The test holds the plug. Like fence_aws it
#: needs the API: a node without a network cannot fence.
FENCE = """#!/bin/sh
action= plug=
while IFS='=' read -r key value; do
    case $key in action) action=$value ;; plug|port|nodename) [ "$plug" ] || plug=$value ;; esac
done
case $action in
    metadata) cat <<END
<?xml version="1.0"?>
<resource-agent name="@NAME@" shortdesc="lab"><longdesc>lab</longdesc><vendor-url/>
<parameters><parameter name="action" required="1"><content type="string" default="off"/></parameter>
<parameter name="region"><content type="string"/></parameter>
<parameter name="power_timeout"><content type="string"/></parameter>
<parameter name="plug" required="1" obsoletes="port"><content type="string"/></parameter></parameters>
<actions><action name="on"/><action name="off"/><action name="reboot"/><action name="status"/><action name="list"/>
<action name="monitor"/><action name="metadata"/></actions></resource-agent>
END
    ;;
    status) [ -e @DIR@/$plug.done ] && exit 2 || exit 0 ;;
    off|reboot) timeout 2 bash -c "exec 3<>/dev/tcp/@API@" || exit 1
        touch @DIR@/$plug.off
        for _ in $(seq 100); do [ -e @DIR@/$plug.done ] && exit 0; sleep 0.1; done; exit 1 ;;
esac
exit 0
"""


class Fenced:
    """The engine on some machines of a lab. Files in `directory` are the plugs that the nodes ask for."""

    def __init__(self, found: Lab, directory: Path, machines: Sequence[Machine] = ()) -> None:
        self.lab, self.directory = found, directory
        self.machines = {machine.name: machine for machine in machines or found.machines}
        self.alive: dict[str, Machine] = {}
        self._over = threading.Event()

    @contextmanager
    def plugs(self) -> Iterator[None]:
        """While it lasts, a node that is fenced loses its power."""
        watch = threading.Thread(target=self._hold_the_plugs, daemon=True)
        watch.start()
        try:
            yield
        finally:
            self._over.set()
            watch.join()

    def boot(self, machine: Machine) -> None:
        """Start the engine there."""
        api = API.rpartition("/")[2].replace(":", "/")
        fence = FENCE.replace("@DIR@", str(self.directory)).replace("@API@", api)
        for name in ("fence_lab", "fence_aws"):
            machine.inside.write(f"/usr/sbin/{name}", fence.replace("@NAME@", name), 0o755)
        machine.inside.read("sh", "-c", f"[ ! -e {TAG} ] || mount --bind /dev/null {TAG}")
        start_engine(machine, list(self.machines.values()), AWS_EC2_METADATA_DISABLED="false")
        self.alive[machine.name] = machine

    def _hold_the_plugs(self) -> None:
        while not self._over.wait(0.05):
            for name in list(self.alive):
                if (self.directory / f"{name}.off").exists():
                    self.power_off(name)

    def power_off(self, name: str) -> None:
        """At once and whole."""
        machine = self.alive.pop(name)
        self.lab.cut(machine)
        (self.directory / f"{name}.done").touch()

    def power_on(self, name: str) -> None:
        """Boot it anew, and wait until all are online."""
        for each in ("off", "done"):
            (self.directory / f"{name}.{each}").unlink(missing_ok=True)
        self.lab.restore(self.machines[name])
        self.boot(self.machines[name])
        self.wait_online()

    @property
    def anyone(self) -> Enclosure:
        return next(iter(self.alive.values())).inside

    def crm(self, *words: str) -> str:
        return self.anyone.read(*words)

    def configure(self, text: str) -> None:
        """Load a configuration in the words of crmsh."""
        self.anyone.write("/etc/lab.crm", text)
        self.crm("crm", "configure", "load", "update", "/etc/lab.crm")

    def rest(self) -> None:
        """Until the engine has nothing to do: a refresh that loses a first monitor holds it up for a minute."""
        self.crm("crm_resource", "--wait", "--timeout=40")

    def wait_online(self) -> None:
        all_of_them = f"Online: [ {' '.join(sorted(self.machines))} ]"
        wait_until(lambda: all_of_them in self.anyone.run("crm_mon", "-1").stdout, "all nodes are online", 90)

    def move(self, name: str, *words: str, resource: str = "service") -> None:
        self.crm("crm_resource", "--move", "--resource", resource, "--node", name, *words)

    def clear(self, resource: str = "service") -> None:
        self.crm("crm_resource", "--clear", "--resource", resource)

    def runs(self, resource: str, name: str) -> bool:
        """The engine itself is at rest with it: its last agent has started too."""
        said = self.anyone.run("crm_resource", "--locate", "--resource", resource).stdout
        return said.strip().endswith(f"is running on: {name}")
