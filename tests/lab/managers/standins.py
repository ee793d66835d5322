"""Stand-ins for managers that Debian does not have: they call hooks as their models do, and configure by hand.

What they do was read in the models' sources (openSUSE wicked, extensions/dispatch; RHEL 7 initscripts, ifup-post,
ifdown-eth and ifdown-post), not run beside them.
"""

from __future__ import annotations

from .manager import WithoutDaemon

#: `dispatch ACTION INTERFACE`: runs what the interface's ifcfg file names for an action. `compat:suse:NAME` is called
#: as the scripts of old, a bare or `wicked:` NAME with action and interface; a directory stands for all inside it.
_DISPATCH = r"""#!/bin/sh
action=$1 interface=$2
. "/etc/sysconfig/network/ifcfg-$interface"
case $action in
    pre-up) scripts=$PRE_UP_SCRIPT ;;
    post-up) scripts=$POST_UP_SCRIPT ;;
    pre-down) scripts=$PRE_DOWN_SCRIPT ;;
    post-down) scripts=$POST_DOWN_SCRIPT ;;
esac
call() {  # SCHEME FILE
    if [ -d "$2" ]; then
        for file in "$2"/*; do call "$1" "$file"; done
    elif [ -x "$2" ] && [ "$1" = suse ]; then
        CONFIG=$interface INTERFACE=$interface "$2" "$interface" "$interface" -o "$action"
    elif [ -x "$2" ]; then
        "$2" "$action" "$interface"
    fi
}
for script in $scripts; do
    name=${script##*:}
    case $script in
        compat:suse:/*) call suse "$name" ;;
        compat:suse:*)
            for directory in /etc/sysconfig/network/scripts /etc/sysconfig/network; do
                [ ! -e "$directory/$name" ] || { call suse "$directory/$name"; break; }
            done ;;
        *) call wicked "/etc/wicked/scripts/$name" ;;
    esac
done
exit 0
"""


class Wicked(WithoutDaemon):
    """SLES 12 and 15. `ifcfg(name, POST_UP_SCRIPT=…)` writes an interface's file."""

    packages = ()
    hooks = "/etc/sysconfig/network/scripts"

    def prepare(self) -> None:
        self.machine.make_directories(self.hooks, "/etc/wicked/scripts")
        self.machine.write("/usr/local/lib/dispatch", _DISPATCH, 0o755)
        for number in range(5):
            self.ifcfg(f"eth{number}")

    def ifcfg(self, name: str, **variables: str) -> None:
        """Write /etc/sysconfig/network/ifcfg-NAME: the administrator's file, which names scripts."""
        lines = {"STARTMODE": "hotplug", "BOOTPROTO": "static", **variables}
        text = "".join(f"{key}='{value}'\n" for key, value in lines.items())
        self.machine.write(f"/etc/sysconfig/network/ifcfg-{name}", text)

    def up(self, name: str) -> None:
        self._dispatch("pre-up", name)
        self.vpc.configure(name)
        self._dispatch("post-up", name)

    def down(self, name: str) -> None:
        self._dispatch("pre-down", name)
        take_down(self, name)
        self._dispatch("post-down", name)

    def _dispatch(self, action: str, name: str) -> None:
        self.machine.read("/usr/local/lib/dispatch", action, name)


class NetworkScripts(WithoutDaemon):
    """RHEL 7: one file for each event of the whole node, called with the device."""

    packages = ()
    hooks = "/sbin"

    def prepare(self) -> None:
        self.machine.write("/etc/sysconfig/network-scripts/ifup-post", "# calls /sbin/ifup-local\n", 0o755)

    def up(self, name: str) -> None:
        self.vpc.configure(name)
        self._call("ifup-local", name)

    def down(self, name: str) -> None:
        self._call("ifdown-pre-local", name)
        take_down(self, name)
        self._call("ifdown-local", name)

    def _call(self, script: str, name: str) -> None:
        """Call it where it is there; its exit code is ignored."""
        self.machine.run("sh", "-c", f'[ ! -x /sbin/{script} ] || exec /sbin/{script} "$0"', name)


def take_down(manager: WithoutDaemon, name: str) -> None:
    """All addresses of the device go, and then the link; without a device there is nothing to do."""
    manager.vpc.node.run("ip", "address", "flush", "dev", name)
    manager.vpc.node.run("ip", "link", "set", name, "down")
