"""The region for a person: `scripts/lab up`, then run programs in it.

    up                     start it in the background
    exec PLACE COMMAND...  run a command: on node1, node2 or node3, on the client, or among the routers
    load TARGET SECONDS    the client asks an address or a name 1000 times a second; how many answers were lost
    status                 who has what, and who answers the client
    power NODE off|on      cut a node's power; boot it again
    hang NODE              stop every process of a node, until its power is cut
    part NODE | mend NODE  a node loses the network; it has it again
    down                   end it; nothing of it is left
    traffic [OPTION...]    another region, under Pacemaker: requests lost for each fault and each way to move a service

All of it is in network and mount namespaces of one process (for an ordinary user in a user namespace too), and ends
with that process. Nothing on this machine's own network is changed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.failover.region.addresses import ENI, NAME, OVERLAY, RESOLVER
from tests.lab.isolate import isolate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from tests.failover.cluster.pair import Machine
    from tests.failover.region.region import Region

#: Seconds for the start of everything, and for one answer.
START, ANSWER = 60, 60

UP = """\
It is up: node1 10.0.0.11 and node2 10.0.0.12 in zone a, node3 10.0.2.13 in zone b, a client outside.
  scripts/lab exec node1 ec2ident-failover takeover overlay      192.168.10.5, to any node
  scripts/lab exec node1 ec2ident-failover takeover eni          10.0.1.5, within zone a
  scripts/lab exec node1 ec2ident-failover takeover name         db.awslab.mycompany.corp, to any node
  scripts/lab load 192.168.10.5 10
  scripts/lab status | power node1 off | hang node1 | part node1 | down"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns its exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments[:1] == ["serve"]:
        isolate()
        return serve(Path(arguments[1]))
    parser = argparse.ArgumentParser(
        prog="scripts/lab", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "verb", choices=["up", "exec", "load", "status", "power", "hang", "part", "mend", "down", "traffic"]
    )
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="...")
    options = parser.parse_args(arguments)
    if options.verb == "up":
        return up()
    if options.verb == "traffic":
        from tests.failover.region import traffic

        return traffic.main(options.words)
    try:
        return tell(options.verb, options.words)
    except OSError:
        print("scripts/lab: not up; start it with scripts/lab up", file=sys.stderr)
        return 3
    except ValueError as error:
        print(f"scripts/lab: {error}", file=sys.stderr)
        return 2


def tell(verb: str, words: list[str]) -> int:
    """Run a verb in the region that is up. Raises OSError without one, ValueError for wrong words."""
    if verb == "load":
        return load(*words)
    if verb == "exec":
        command = enter(*words)
        os.execvp(command[0], command)
    for line in ask(verb, *words)["lines"]:
        print(line)
    deadline = time.monotonic() + START
    while verb == "down" and (directory() / "socket").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return 0


# The way to it


def directory() -> Path:
    """Its socket and its log. Raises SystemExit if another user made it."""
    path = Path(tempfile.gettempdir(), f"ec2ident-lab-{os.geteuid()}")
    path.mkdir(mode=0o700, exist_ok=True)
    if path.lstat().st_uid != os.geteuid() or path.is_symlink():
        raise SystemExit(f"scripts/lab: {path} belongs to another user")
    return path


def up() -> int:
    """Start it, unless it is up."""
    here = directory()
    try:
        ask("status")
    except OSError:
        (here / "socket").unlink(missing_ok=True)
    else:
        print("It is up already.")
        return 0
    with (here / "log").open("w", encoding="utf-8") as log:
        command = [sys.executable, "-B", "-m", "tests.failover.region.lab", "serve", str(here / "socket")]
        streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        started = subprocess.Popen(command, start_new_session=True, **streams)  # type: ignore[call-overload]
    deadline = time.monotonic() + START
    while not (here / "socket").exists():
        if started.poll() is not None or time.monotonic() > deadline:
            started.kill()
            print((here / "log").read_text(encoding="utf-8").strip(), file=sys.stderr)
            return 4
        time.sleep(0.05)
    print(UP)
    return 0


def ask(verb: str, *words: str) -> Any:
    """The answer of the process that has the region. Raises OSError without one, ValueError for wrong words."""
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(ANSWER)
        one.connect(str(directory() / "socket"))
        with one.makefile("rw", encoding="utf-8") as stream:
            stream.write(json.dumps([verb, *words]) + "\n")
            stream.flush()
            found = json.loads(stream.readline())
    if "error" in found:
        raise ValueError(found["error"])
    return found


def enter(*words: str) -> list[str]:
    """The command line that runs a command at a place of the region. Raises OSError, ValueError."""
    found = ask("exec", *words)
    user = ["--user", "--preserve-credentials"] if os.geteuid() else []
    return ["nsenter", f"--target={found['pid']}", *user, "--mount", "--net", *found["command"]]


def load(target: str = "", seconds: str = "10", *more: str) -> int:
    """Ask a thousand times a second, and print what was lost. Raises OSError, ValueError."""
    from tests.failover.region.load import Load

    if not target or more or not seconds.replace(".", "", 1).isdigit():
        raise ValueError("load: give an address or a name, and a number of seconds")
    duration, resolver = float(seconds), "" if target.replace(".", "").isdigit() else RESOLVER
    with Load(lambda *command: enter("client", *command), target, resolver=resolver) as client:
        time.sleep(duration)
    seen = client.seen
    print(f"{len(seen.requests)} requests, {seen.lost(0)} without an answer; at the end {seen.owner()} answers")
    return 0


# The process that has it


def serve(path: Path) -> int:
    """Have a region, answer questions, and end at `down` or SIGTERM."""
    from tests.failover.region.region import region

    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    try:
        with region() as found, socket.socket(socket.AF_UNIX) as listening:
            listening.bind(f"{path}.new")
            listening.listen()
            listening.settimeout(0.2)
            os.rename(f"{path}.new", path)
            while not over.is_set() and not found.broken:
                try:
                    one, _ = listening.accept()
                except (TimeoutError, socket.timeout):  # one class only from Python 3.10 on
                    continue
                with one, one.makefile("rw", encoding="utf-8") as stream:
                    one.settimeout(ANSWER)
                    verb, *words = json.loads(stream.readline())
                    stream.write(json.dumps(answer(found, verb, words, over)) + "\n")
    finally:
        # The last thing: `down` waits for it.
        path.unlink(missing_ok=True)
    return 0


def answer(found: Region, verb: str, words: list[str], over: threading.Event) -> dict[str, Any]:
    """The answer to one question: `lines` to print, a `command` to run, or an `error`."""
    machines = {machine.name: machine for machine in found.machines}
    lines: list[str] = []
    if verb == "exec":
        return _command(found, machines, words)
    if verb == "status":
        lines = status(found)
    elif verb == "down":
        over.set()
    else:
        machine = machines.get(words[0] if words else "")
        if machine is None or words[1:] not in ([["off"], ["on"]] if verb == "power" else [[]]):
            return {"error": f"{verb} {' '.join(words)}: give one of {', '.join(machines)}; after power also off or on"}
        if (found.powered(machine)) == (words[1:] == ["on"]):
            return {"error": f"{machine.name}: its power is {'on' if found.powered(machine) else 'off'}"}
        acts = {"off": found.cut, "on": found.restore, "hang": found.hang, "part": found.part, "mend": found.mend}
        acts[words[1] if verb == "power" else verb](machine)
    return {"lines": lines}


def _command(found: Region, machines: dict[str, Machine], words: list[str]) -> dict[str, Any]:
    from tests.failover.region.region import command as on_node

    others = {"client": found.client, "router": found.router}
    place, command = (words[0] if words else ""), words[1:]
    if place in machines and command:
        machine = machines[place]
        if not found.powered(machine):
            return {"error": f"{place}: its power is off"}
        return {"pid": os.getpid(), "command": on_node(machine, *command)}
    if place in others and command:
        return {"pid": os.getpid(), "command": others[place].command(*command)}
    return {"error": f"exec: give one of {', '.join([*machines, *others])}, and a command"}


def status(found: Region) -> list[str]:
    """Who has what in the API, and who answers the client."""
    nodes = {found.ids[machine.name]: machine.name for machine in found.machines}
    nodes.update({found.ids[f"eni{machine.number}"]: machine.name for machine in found.machines})
    owners = ", ".join(sorted({nodes.get(each, each) for each in found.owners()})) or "none"
    attached = found.holder(found.ids["service_eni"])
    values = found.records_of().get(NAME, [])
    lines = [
        f"{machine.name}  {machine.address:<10} power {'on' if found.powered(machine) else 'off'}"
        for machine in found.machines
    ]
    for what, has, address in (
        (f"overlay {OVERLAY}", f"routed to {owners}", OVERLAY),
        (f"eni     {ENI}", f"attached to {nodes.get(attached, 'none')}", ENI),
        (f"name    {NAME}", f"is {', '.join(values) or 'unknown'}", values[0] if values else ""),
    ):
        who = found.who(address, timeout=0.5) if address else ""
        lines.append(f"{what:<33} {has:<22} {who or 'no node'} answers the client")
    return lines


if __name__ == "__main__":
    sys.exit(main())
