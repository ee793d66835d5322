"""Where objects that `adopt` meets come from: which program made them, and which lines and files add them again.

A protocol number tells a kind of program. Beyond that a file that names an object is the best hint there is: the files
in which administrators and network managers write rules, routes and addresses are searched for the object's address and
for its table.
"""

from __future__ import annotations

from ec2ident.value import Value
from ec2ident_agent.adoption import shown
from ec2ident_agent.items import Address, Route, Rule

from .node_files import NodeFiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ec2ident_agent.engine import Report
    from ec2ident_agent.install.rootfs import RootFs
    from ec2ident_agent.items import Item, Seen
    from ec2ident_agent.state.owned import Owner

#: rt_protos of iproute2, and how programs use the numbers.
MAKERS = {
    0: "unknown; ip rule and ip address give no protocol",
    2: "the kernel, or a program that uses its number",
    3: "the ip command, as in a script or an `up` line",
    4: "a network manager, from static settings",
    9: "the kernel, from a router advertisement",
    16: "a network manager, from DHCP",
    18: "keepalived",
    66: "the Google guest agent",
}
#: Where administrators and network managers write what is added at boot or when an interface comes up. A directory
#: stands for the files in it.
PLACES = (
    "/etc/network/interfaces",
    "/etc/network/interfaces.d",
    "/etc/network/if-pre-up.d",
    "/etc/network/if-up.d",
    "/etc/sysconfig/network-scripts",
    "/etc/sysconfig/network",
    "/etc/sysconfig/network/scripts",
    "/etc/sysconfig/network/if-up.d",
    "/etc/NetworkManager/system-connections",
    "/usr/lib/NetworkManager/system-connections",
    "/etc/NetworkManager/dispatcher.d",
    "/etc/NetworkManager/dispatcher.d/pre-up.d",
    "/etc/netplan",
    "/etc/systemd/network",
    "/etc/systemd/system",
    "/etc/networkd-dispatcher/configured.d",
    "/etc/networkd-dispatcher/routable.d",
    "/etc/networkd-dispatcher/carrier.d",
    "/etc/dhcp/dhclient-exit-hooks.d",
    "/etc/dhcp/dhclient.d",
    "/etc/rc.local",
    "/etc/rc.d/rc.local",
    "/etc/init.d/boot.local",
    "/etc/init.d/after.local",
    "/etc/cron.d",
    "/etc/crontab",
    "/etc/keepalived",
    "/usr/local/bin",
    "/usr/local/sbin",
)
#: Words after which a file names a routing table, in lower case.
TABLE_WORDS = frozenset(("table", "lookup", "route-table", "routetable"))
#: Words by which a line is about a rule, or about a route.
RULE_WORDS, ROUTE_WORDS = frozenset(("rule", "from")), frozenset(("route", "via", "default"))
#: Files of our own name the same objects.
OWN = "ec2ident"


class Line(Value):
    """A line of a file that names an object."""

    path: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.number}"


class Origin(Value):
    """An object that is taken over, or resembles one: the program that made it, and the lines that name it."""

    owner: Owner
    #: What the configuration asks for; None for a route that it does not.
    item: Item | None
    seen: Seen
    lines: tuple[Line, ...] = ()
    #: Why it is left alone; empty if it is taken over.
    why: str = ""

    @property
    def maker(self) -> str:
        """The program, as far as the protocol number tells."""
        return MAKERS.get(self.seen.protocol or 0, "a program with this protocol number")


class Origins(Value):
    """All of them, and the files of which nothing but these lines is left."""

    found: tuple[Origin, ...]
    whole: frozenset[str] = frozenset()
    denied: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[Line, ...]:
        """Every line that names one of the objects, in the order of files and lines."""
        lines = dict.fromkeys(line for each in self.found for line in each.lines)
        return tuple(sorted(lines, key=lambda line: (line.path, line.number)))


def origins(report: Report, tree: RootFs) -> Origins:
    """Where the objects come from that are taken over, or that are left although they resemble one."""
    owners = {item: each.owner for each in reversed(report.desired) for item in each.items}
    found = [Origin(owners[each.item], each.item, seen) for each in report.adopted for seen in each.theirs]
    found += [Origin(each.owner, each.item, each.seen, why=each.reason) for each in report.near_misses]
    if not found:
        return Origins(())
    files = NodeFiles(tree)
    names = table_names(files)
    texts = {path: text.splitlines() for path, text in _files(files)}
    told = tuple(_with_lines(each, texts, names) for each in found)
    named = {line for each in told for line in each.lines}
    whole = {path for path, text in texts.items() if _nothing_else(path, text, named)}
    return Origins(told, frozenset(whole), tuple(files.denied))


def _with_lines(origin: Origin, texts: dict[str, list[str]], names: dict[int, set[str]]) -> Origin:
    test = mentions(origin.seen.item, names)
    lines = [
        Line(path, number, line.strip())
        for path, text in texts.items()
        for number, line in enumerate(text, 1)
        if test(line)
    ]
    return Origin(origin.owner, origin.item, origin.seen, tuple(lines), origin.why)


def _files(files: NodeFiles) -> Iterator[tuple[str, str]]:
    for place in PLACES:
        for path in [f"{place}/{name}" for name in sorted(files.names(place))] or [place]:
            text = files.text(path) if OWN not in path else ""
            if text and "\0" not in text:
                yield path, text


def table_names(files: NodeFiles) -> dict[int, set[str]]:
    """The names of routing tables, by their numbers, as iproute2 reads them."""
    found: dict[int, set[str]] = {}
    directories = ("/etc/iproute2", "/usr/share/iproute2", "/usr/lib/iproute2")
    paths = [f"{base}/rt_tables" for base in directories]
    paths += [f"{base}/rt_tables.d/{name}" for base in directories for name in files.names(f"{base}/rt_tables.d")]
    for path in paths:
        for line in files.text(path).splitlines():
            words = line.partition("#")[0].split()
            if len(words) == 2 and words[0].isdigit():
                found.setdefault(int(words[0]), set()).add(words[1])
    return found


def mentions(item: Item, names: dict[int, set[str]]) -> Callable[[str], bool]:
    """A function that tells whether a line names the object: by its address, or by its table.

    A line about a route names no rule, and the other way round.
    """
    addresses: set[str] = set()
    tables: set[str] = set()
    other = RULE_WORDS if isinstance(item, Route) else ROUTE_WORDS
    if isinstance(item, Address):
        addresses = {item.address.partition("/")[0]}
    elif isinstance(item, Rule):
        tables = {str(item.table), *names.get(item.table, ())}
        host, _, length = item.source.partition("/")
        addresses = {item.source, *([host] if length in ("32", "128") else ())} - {""}
    elif isinstance(item, Route):
        tables = {str(item.table), *names.get(item.table, ())}

    def test(line: str) -> bool:
        if line.lstrip()[:1] in ("#", ";"):
            return False
        words = _words(line)
        if isinstance(item, Address):
            return any(word.partition("/")[0] in addresses for word in words)
        if not other.isdisjoint(words):
            return False
        if not addresses.isdisjoint(words):
            return True
        return any(first.lower() in TABLE_WORDS and second in tables for first, second in zip(words, words[1:]))

    return test


def _words(line: str) -> list[str]:
    """The words of a line of a shell script, an INI file or YAML."""
    for mark in "=,;\"'()[]{}":
        line = line.replace(mark, " ")
    return [word.rstrip(":") if not word.endswith("::") else word for word in line.split()]


def _nothing_else(path: str, text: Sequence[str], named: set[Line]) -> bool:
    """True if each line of the file that says something names one of the objects."""
    said = [(number, line.strip()) for number, line in enumerate(text, 1)]
    said = [(number, line) for number, line in said if line and line[0] not in "#;"]
    return bool(said) and all(Line(path, number, line) in named for number, line in said)


# -- what is said -----------------------------------------------------------------------------------------------------


def lines(origins: Origins, *, done: bool) -> Iterator[str]:
    """For people: each object, the program that made it, and what to retire."""
    for each in origins.found:
        if each.why:
            yield f"left     {each.owner}  {shown(each.seen)}"
            yield f"         because {each.why}"
        else:
            yield f"{'adopted' if done else 'adopt':8} {each.owner}  {each.item}"
        proto = f" (proto {each.seen.protocol})" if each.seen.protocol else ""
        yield f"         made by: {each.maker}{proto}"
        if each.lines:
            yield f"         named in: {', '.join(map(str, each.lines))}"
    if not origins.found:
        yield "nothing to adopt: no object of another program equals or resembles what is configured"
        return
    yield from _retire(origins)


def _retire(origins: Origins) -> Iterator[str]:
    if not origins.lines:
        yield "retire: no file that is known names these objects; whatever added them may do so again"
        return
    yield "retire, or it is added again:"
    for path in dict.fromkeys(line.path for line in origins.lines):
        if path in origins.whole:
            yield f"  {path}: the whole file"
        else:
            yield from (f"  {line}: {line.text}" for line in origins.lines if line.path == path)
    for path in origins.denied[:1]:
        yield f"  {path} may not be read (needs root): what it names is not known"


def as_dict(origins: Origins, *, done: bool) -> dict[str, object]:
    """The same for `--json`."""

    def told(each: Origin) -> dict[str, object]:
        return {
            "owner": str(each.owner),
            "item": None if each.item is None else str(each.item),
            "there": shown(each.seen),
            "protocol": each.seen.protocol,
            "made_by": each.maker,
            "named_in": [{"path": line.path, "line": line.number, "text": line.text} for line in each.lines],
            **({"because": each.why} if each.why else {}),
        }

    return {
        "done": done,
        "adopt": [told(each) for each in origins.found if not each.why],
        "left": [told(each) for each in origins.found if each.why],
        "retire": [
            {"path": path, "whole_file": path in origins.whole}
            for path in dict.fromkeys(line.path for line in origins.lines)
        ],
        "unreadable": list(origins.denied),
    }
