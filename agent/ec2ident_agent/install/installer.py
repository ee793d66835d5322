"""Install the hooks, units and names that a node needs, and uninstall exactly those.

A manifest lists what was installed. It is written before anything is installed and removed after everything is gone, so
that an uninstall is exact even after SIGKILL at any step. A file that is not in the manifest stays, whatever it looks
like; a file that is in it and was changed since belongs to the administrator.
"""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import suppress

from ec2ident import __version__
from ec2ident.program import exit_codes
from ec2ident.value import Value, replace
from ec2ident_agent.errors import AgentError, ConfigError, RefusedError
from ec2ident_agent.manager_names import known_name
from ec2ident_agent.state.journal import Journal

from .layout import (
    CONFIG,
    HOME,
    HOOK,
    INTERFACES,
    ROWS,
    STATE,
    WANTS,
    InstallRequest,
    Thing,
    advice,
    check,
    detect,
    is_beside,
    is_packaged,
    once_gone,
    vendor_path,
    wanted,
    with_parents,
)
from .manifest import MANIFEST, Entry, manifest, read_manifest
from .rootfs import Directory, File, RootFs, Symlink, beside_name
from .run_state import removals
from .trust import check_trust

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .rootfs import Inode

    Command = tuple[str, ...]
    Run = Callable[[Command], object]
    Say = Callable[[str], object]

#: The manifest's directory is made under this name and renamed, so that there is never a directory without a manifest.
NEW_HOME = "/etc/.ec2ident.new"


class FileStep(Value):
    """One change to the tree; as text, the command that does the same."""

    verb: str
    path: str
    mode: int = 0
    content: bytes = b""
    target: str = ""
    #: Of a file: user and group as numbers; None for those of the process.
    owner: tuple[int, int] | None = None

    def __str__(self) -> str:
        path, target = shlex.quote(self.path), shlex.quote(self.target)
        owner = " -o {} -g {}".format(*self.owner) if self.owner else ""
        return {
            "mkdir": f"mkdir -m {self.mode:04o} {path}",
            "write": f"install -m {self.mode:04o}{owner} /dev/stdin {path}",
            "link": f"ln -s {target} {path}",
            "mv": f"mv {target} {path}",
            "rm": f"rm {path}",
            "rmdir": f"rmdir {path}",
            "rm if free": f"flock -n {path} rm {path}",
            "rmdir if empty": f"rmdir --ignore-fail-on-non-empty {path}",
        }[self.verb]

    @property
    def text(self) -> list[str]:
        """The lines of the file that is written, without the manifest's, which no program runs."""
        shown = self.verb == "write" and not self.path.endswith("/manifest.json")
        return self.content.decode("utf-8", "surrogateescape").splitlines() if shown else []

    def do(self, tree: RootFs) -> None:
        """Make the change. Raises OSError."""
        if self.verb == "mkdir":
            tree.make_directory(self.path, self.mode)
        elif self.verb == "write":
            tree.write(self.path, self.content, self.mode, self.owner)
        elif self.verb == "link":
            tree.link(self.path, self.target)
        elif self.verb == "mv":
            tree.rename(self.target, self.path)
        elif self.verb == "rm":
            tree.remove(self.path)
        elif self.verb == "rm if free":
            tree.remove_free_lock(self.path)
        else:
            tree.remove_directory(self.path, keep_full=self.verb == "rmdir if empty")


class Plan(Value):
    """What will be done, in order, and what the administrator should know."""

    steps: tuple[FileStep, ...] = ()
    notes: tuple[str, ...] = ()
    #: A foreign file is where one should be installed, and no setting of the administrator can take its place.
    refused: bool = False
    #: Programs of the node that are started before the steps, and after them.
    first: tuple[tuple[str, ...], ...] = ()
    then: tuple[tuple[str, ...], ...] = ()

    @property
    def lines(self) -> list[str]:
        """All that is done, in order, as commands."""
        return [*map(shlex.join, self.first), *map(str, self.steps), *map(shlex.join, self.then)]

    @property
    def shown(self) -> list[str]:
        """The same lines, and after each file that is written its text, indented: root will run it."""
        steps = [line for step in self.steps for line in (str(step), *(f"    {each}".rstrip() for each in step.text))]
        return [*map(shlex.join, self.first), *steps, *map(shlex.join, self.then)]


def command(
    *,
    say: Say,
    log: Say,
    remove: bool = False,
    root: str = "/",
    program: str = "",
    config: str = "",
    state_dir: str = "",
    managers: Sequence[str] = (),
    ocf: bool = False,
    dry_run: bool = False,
    compare_only: bool = False,
    called_as: str = "",
) -> int:
    """The verbs install and (`remove`) uninstall; returns the exit code. Raises AgentError.

    An empty path is found: `program` by the name that this program was `called_as`. With `compare_only` nothing is
    changed, and each file is named that is not as this version installs it.
    """
    tree = RootFs(root)
    run = run_on_node if tree.root == "/" and os.path.isdir("/run/systemd/system") else None
    said = installed_with(tree)
    state = state_dir or said.get("state", STATE)
    if remove:
        plan = uninstall(tree, state, dry_run=dry_run, run=run)
    elif is_packaged(tree):
        if program or config or state_dir:
            raise RefusedError(
                f"{vendor_path(HOOK)} belongs to the distribution's package: its hooks and units have fixed paths."
                " Install without --program, --config and --state-dir, or remove the package first; nothing was changed"
            )
        say(f"the distribution's package has installed all hooks and units: {vendor_path(HOOK)}; nothing to do")
        return exit_codes.DONE
    else:
        program = program or _as_installed(tree, find_program(called_as, sys.executable, root), said)
        config = config or said.get("config", CONFIG)
        names = _interfaces(tree, config, log)
        managers = tuple(known_name(name, ROWS) for name in managers)
        request = InstallRequest(program, config, state, names, (*managers, *(["ocf"] if ocf else [])))
        plan = install(tree, request, dry_run=dry_run or compare_only, run=run)
    if compare_only:
        lines = differences(tree, plan) or [f"installed as version {__version__} installs it"]
    else:
        lines = plan.shown if dry_run else plan.lines
    for line in lines:
        say(line)
    for note in plan.notes:
        log(f"ec2ident-agent: {note}")
    if remove and tree.root == "/" and os.path.exists(Journal(state).path):
        where = "" if state == STATE else f" --state-dir {shlex.quote(state)}"
        log(f"ec2ident-agent: what was applied is still there; ec2ident-agent revert --all{where} removes it")
    elif remove and not dry_run:
        left = tree.look(state)
        if isinstance(left, Directory):
            log(f"ec2ident-agent: {state}: kept, in use or needed by a later release: {', '.join(left.names)}")
    if plan.refused:
        return RefusedError.exit
    return exit_codes.DRIFT if plan.steps and (dry_run or compare_only) else exit_codes.DONE


def differences(tree: RootFs, plan: Plan) -> list[str]:
    """A line for each path that an install would change, with what is wrong with it now. Raises OSError."""
    if plan.steps and tree.look(MANIFEST) is None:
        return [f"{MANIFEST}: missing: nothing is installed"]
    return [f"{step.path}: {_difference(tree, step)}" for step in plan.steps if not step.path.startswith(NEW_HOME)]


def _difference(tree: RootFs, step: FileStep) -> str:
    if step.verb in ("rm", "rmdir"):
        return "not part of this version"
    return "missing" if tree.look(step.path) is None else "of another version"


def installed_with(tree: RootFs) -> dict[str, str]:
    """The program, the configuration and the state directory that the hook on this node names: a later install goes on
    with them.
    """
    found: dict[str, str] = {}
    with suppress(OSError, ValueError):
        here = tree.look(HOOK)
        lines = here.content.decode().splitlines() if isinstance(here, File) else []
        for name, _, value in (line.partition("=") for line in lines):
            if name in ("program", "config", "state"):
                found[name] = "".join(shlex.split(value))
    return found


def _as_installed(tree: RootFs, program: str, said: Mapping[str, str]) -> str:
    """The path by which the hooks call this program, if they call this one; else `program`, such as of a new release.

    It may have several paths, as through a link, and is the same by each of them.
    """
    before = said.get("program", "")
    with suppress(OSError):
        return before if before and tree.real(before) == tree.real(program) else program
    return program


def _interfaces(tree: RootFs, path: str, log: Say) -> tuple[str, ...]:
    """What the configuration names; the published recipe's interface where there is none, or none that is right."""
    from ec2ident_agent.config_file import load

    try:
        config = load(tree.real(path), required=False, uids={0, os.geteuid()}, cache=None, now=0)
    except AgentError as wrong:
        log(f"ec2ident-agent: {wrong}")
        return INTERFACES
    named = [section.name for section in config.sections if not section.mac]
    held = [overlay.device for overlay in config.overlays if overlay.device]
    return tuple(dict.fromkeys([*named, *held])) or INTERFACES


def install(tree: RootFs, request: InstallRequest, *, dry_run: bool = False, run: Run | None = None) -> Plan:
    """Install what is missing, replace what an older version installed. Returns what was done: a second time, nothing.

    `run` starts a program on this node, so that daemons read their files again; None for an image. Raises AgentError.
    """
    check(request)
    with Held(tree):
        check_trust(tree, request.program)
        return perform(tree, plan_install(tree, request), dry_run, run)


def uninstall(tree: RootFs, state: str = STATE, *, dry_run: bool = False, run: Run | None = None) -> Plan:
    """Remove everything that the manifest names and that is still as it was installed. Raises AgentError.

    What `run_state.removals` names in the directory `state` is removed after the hooks, which write there.
    """
    with Held(tree):
        return perform(tree, plan_uninstall(tree, state), dry_run, run, STOP)


def perform(tree: RootFs, plan: Plan, dry_run: bool, run: Run | None = None, first: Sequence[Command] = ()) -> Plan:
    """Do what was planned, or nothing of it. Returns all that is done, the node's programs too if there is a `run`."""
    if run and plan.steps:
        plan = replace(plan, first=tuple(first), then=RELOAD)
    if not dry_run:
        _tell(run, plan.first)
        for step in plan.steps:
            step.do(tree)
        _tell(run, plan.then)
    return plan


def _tell(run: Run | None, commands: Sequence[Command]) -> None:
    if run:
        for command in commands:
            run(command)


# ---- what to do: looks at the tree, changes nothing


def plan_install(tree: RootFs, request: InstallRequest) -> Plan:
    """Compare what should be with what is there, and with the manifest. Raises RefusedError, OSError."""
    owned = {entry.path: entry for entry in read_manifest(tree) or ()}
    managers = detect(tree, owned)
    # A later install without --ocf must not take a running cluster's agents away.
    extras = [*request.extras, *(["ocf"] if any("/ocf/" in path for path in owned) else [])]
    managers += tuple(name for name in dict.fromkeys(extras) if name not in managers)
    compared = compare(tree, wanted(tree, managers, request, owned), owned)
    after, notes = dict(compared.after), [*compared.notes]
    going = [entry for path, entry in owned.items() if path not in after and not is_beside(path)]
    drop, kept, left = take_away(tree, going, set())
    after.update((entry.path, entry) for entry in left)
    after.update((path, entry) for path, entry in owned.items() if is_beside(path))
    notes += [*kept, *advice(tree, managers, request)]
    return Plan(changes(tree, owned, compared, after, drop), tuple(notes), compared.refused)


def plan_beside(tree: RootFs, things: Sequence[Thing], gives_way: Callable[[bytes], bool] | None = None) -> Plan:
    """The steps that add files beside those of `install`, and name them in the same manifest.

    A file that is not as it was installed is replaced only if `gives_way` says so of its content. Raises RefusedError,
    OSError.
    """
    owned = {entry.path: entry for entry in read_manifest(tree) or ()}
    home = [] if tree.exists(HOME) and HOME not in owned else [Thing(HOME, Directory((), 0o755))]
    compared = compare(tree, [*home, *with_parents(tree, things, owned)], owned, gives_way)
    return Plan(changes(tree, owned, compared, {**owned, **compared.after}, ()), compared.notes, compared.refused)


class Compared(Value):
    """What is to be installed, and the manifest meanwhile and thereafter."""

    steps: tuple[FileStep, ...]
    during: Mapping[str, Entry]
    after: Mapping[str, Entry]
    notes: tuple[str, ...]
    refused: bool


def compare(
    tree: RootFs,
    things: Sequence[Thing],
    owned: Mapping[str, Entry],
    gives_way: Callable[[bytes], bool] | None = None,
) -> Compared:
    """What should be there, compared with what is, and with the manifest. Raises OSError."""
    during, after = dict(owned), dict[str, Entry]()
    steps: list[FileStep] = []
    notes: list[str] = []
    refused = False
    foreign: set[str] = set()
    for thing in things:
        if isinstance(thing.node, Symlink) and _target(thing.path, thing.node) in foreign:
            # A link belongs to its file: it would start a foreign program.
            foreign.add(thing.path)
            continue
        here, mine = tree.look(thing.path), owned.get(thing.path)
        unchanged = here is not None and mine is not None and _is_unchanged(here, mine)
        if gives_way and isinstance(here, File) and not unchanged and gives_way(here.content):
            # As if it were missing: after a crash an uninstall must not take it for an earlier one of the agent.
            here = None
        if here is None and mine and _enabled(mine):
            after[thing.path] = mine
            unit = thing.path.rpartition("/")[2]
            notes.append(
                f"{thing.path}: disabled since it was installed, and stays so; systemctl enable {unit} enables it"
            )
        elif here is None or (unchanged and not _same(here, thing.node)):
            steps.append(adding(thing))
            during[thing.path] = _entry(thing, before=here)
            after[thing.path] = _recorded(thing)
        elif unchanged:
            after[thing.path] = _recorded(thing)
        elif mine:
            after[thing.path] = mine
            notes += [] if thing.row and thing.row.sample else [f"{thing.path}: kept, changed since it was installed"]
        elif thing.row and not thing.row.sample and not _same(here, thing.node):
            notes.append(
                f"{thing.path}: not installed by ec2ident-agent, not changed;"
                f" {thing.row.instead or 'move it away and install again'}"
            )
            refused = refused or not thing.row.instead
            foreign.add(thing.path)
    return Compared(tuple(steps), during, after, tuple(notes), refused)


def _target(path: str, link: Symlink) -> str:
    return os.path.normpath(os.path.join(os.path.dirname(path), link.target))


def changes(
    tree: RootFs, owned: Mapping[str, Entry], compared: Compared, after: Mapping[str, Entry], drop: Sequence[FileStep]
) -> tuple[FileStep, ...]:
    """All steps in order: the manifest names everything before it is installed, and no longer what is gone."""
    found = leftovers(tree, owned)
    if compared.steps or drop or after != owned:
        found += _write_manifest(tree, compared.during)
        # The manifest's own directory came with it.
        found += [*(step for step in compared.steps if step.path != HOME), *drop]
        found += [manifest_step(MANIFEST, after)] if after != compared.during else []
    return tuple(found)


def plan_uninstall(tree: RootFs, state: str = "") -> Plan:
    """What takes everything away, newest first, then what is in the directory `state`, and the manifest last.

    Raises RefusedError, OSError.
    """
    entries = read_manifest(tree)
    clean = leftovers(tree, {entry.path: entry for entry in entries or ()})
    if entries is None:
        return Plan(tuple(clean))
    going = {step.path for step in clean} | {MANIFEST}
    steps, notes, left = take_away(tree, entries, going)
    notes += [f"{entry.path}: kept, not empty" for entry in left]
    if any(map(_enabled, entries)):
        # So that an install after a crash adds them again, as it does everything else.
        leaving = {entry.path: replace(entry, before="") if _enabled(entry) else entry for entry in entries}
        steps.insert(0, manifest_step(MANIFEST, leaving))
    home = FileStep("rmdir", HOME)
    empty = home in steps
    steps = [
        *(step for step in steps if step != home),
        *(FileStep(*each) for each in (removals(tree, state) if state else ())),
    ]
    if not empty:
        return Plan((*clean, *steps, FileStep("rm", MANIFEST)), tuple(notes))
    last = (
        FileStep("mv", NEW_HOME, target=HOME),
        FileStep("rm", f"{NEW_HOME}/manifest.json"),
        FileStep("rmdir", NEW_HOME),
    )
    return Plan((*clean, *steps, *last), tuple(notes))


def take_away(tree: RootFs, entries: Sequence[Entry], going: set[str]) -> tuple[list[FileStep], list[str], list[Entry]]:
    """Steps that remove entries, newest first; notes on what stays and what to run; directories that are not empty."""
    steps: list[FileStep] = []
    notes: list[str] = []
    left: list[Entry] = []
    going = set(going)
    for entry in reversed(entries):
        here = tree.look(entry.path)
        if here is None:
            continue
        if isinstance(here, Directory) and entry.kind == "directory":
            others = [name for name in here.names if f"{entry.path}/{name}" not in going]
            if others:
                left.append(entry)
                continue
            steps.append(FileStep("rmdir", entry.path))
        elif _is_ours(here, entry):
            steps.append(FileStep("rm", entry.path))
            notes += once_gone(entry.path, here.content) if isinstance(here, File) else []
        else:
            notes.append(f"{entry.path}: kept, changed since it was installed")
            continue
        going.add(entry.path)
    return steps, list(dict.fromkeys(notes)), left[::-1]


def leftovers(tree: RootFs, owned: Mapping[str, Entry]) -> list[FileStep]:
    """What a killed install or uninstall left under a temporary name."""
    there = [path for path in map(beside_name, [*owned, MANIFEST]) if tree.look(path) is not None]
    new = tree.look(NEW_HOME)
    inside = new.names if isinstance(new, Directory) else ()
    steps = [FileStep("rm", path) for path in [*there, *(f"{NEW_HOME}/{name}" for name in inside)]]
    return [*steps, FileStep("rmdir", NEW_HOME)] if new is not None else steps


def _write_manifest(tree: RootFs, entries: Mapping[str, Entry]) -> list[FileStep]:
    """Before anything is installed. A directory that is made for it appears together with it, in one rename."""
    if tree.look(HOME) is not None:
        return [manifest_step(MANIFEST, entries)]
    new = manifest_step(f"{NEW_HOME}/manifest.json", entries)
    return [FileStep("mkdir", NEW_HOME, 0o755), new, FileStep("mv", HOME, target=NEW_HOME)]


# ---- comparing


def _same(here: Inode, want: Inode) -> bool:
    """True if what is there is what should be. The files in a directory do not count."""
    if isinstance(here, Directory) and isinstance(want, Directory):
        return True
    if isinstance(here, File) and isinstance(want, File):
        return here.content == want.content and here.mode == want.mode
    return here == want


def _is_ours(here: Inode, entry: Entry) -> bool:
    """True if the content is as installed, now or before an upgrade that did not end. The mode may be another."""
    if isinstance(here, File):
        return entry.kind == "file" and _digest(here.content) in (entry.mark, entry.before)
    if isinstance(here, Symlink):
        return entry.kind == "link" and here.target in (entry.mark, entry.before)
    return isinstance(here, Directory) and entry.kind == "directory"


def _is_unchanged(here: Inode, entry: Entry) -> bool:
    return _is_ours(here, entry) and (not isinstance(here, File) or here.mode == entry.mode)


def _digest(content: bytes) -> str:
    from hashlib import sha256

    return sha256(content).hexdigest()


def _mark(node: Inode | None) -> str:
    if isinstance(node, File):
        return _digest(node.content)
    return node.target if isinstance(node, Symlink) else ""


def _entry(thing: Thing, before: Inode | None = None) -> Entry:
    node = thing.node
    kind = "file" if isinstance(node, File) else "link" if isinstance(node, Symlink) else "directory"
    mode = node.mode if isinstance(node, (File, Directory)) else 0
    return Entry(thing.path, kind, _mark(node), mode, _mark(before))


def _recorded(thing: Thing) -> Entry:
    """The entry of what is there for sure."""
    return _entry(thing, thing.node if thing.path.startswith(f"{WANTS}/") else None)


def _enabled(entry: Entry) -> bool:
    """Was this a link by which a unit starts at boot? When it is gone, `systemctl disable` took it."""
    return entry.path.startswith(f"{WANTS}/") and entry.before == entry.mark


def manifest_step(path: str, entries: Mapping[str, Entry]) -> FileStep:
    """The step that writes the manifest with these entries."""
    return FileStep("write", path, 0o644, manifest(entries.values()))


def adding(thing: Thing) -> FileStep:
    """The step that makes what should be there."""
    node = thing.node
    if isinstance(node, File):
        return FileStep("write", thing.path, node.mode, node.content)
    if isinstance(node, Symlink):
        return FileStep("link", thing.path, target=node.target)
    assert isinstance(node, Directory)
    return FileStep("mkdir", thing.path, node.mode)


# ---- the node around the tree

RELOAD = (("systemctl", "daemon-reload"), ("udevadm", "control", "--reload"))
# With the device still there, stopping its unit does nothing.
STOP = (("systemctl", "stop", "ec2ident-agent*.service"),)


def run_on_node(command: Command) -> None:
    """Start a program of this node. Its failure does not undo the installation."""
    import subprocess

    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return


def find_program(argv0: str, executable: str, root: str = "/") -> str:
    """The absolute path of ec2ident-agent: as it was called, beside this Python, or on PATH. Raises ConfigError."""
    from shutil import which

    called = os.path.abspath(argv0) if os.path.basename(argv0) == "ec2ident-agent" else ""
    beside = os.path.join(os.path.dirname(executable), "ec2ident-agent")
    for path in (called, beside, which("ec2ident-agent") or ""):
        if path and os.path.isfile(path) and os.access(path, os.X_OK):
            inside = os.path.realpath(root).rstrip("/") + "/"
            return "/" + path[len(inside) :] if path.startswith(inside) else path
    raise ConfigError("--program: ec2ident-agent is not beside this Python and not on PATH; say where it is")


class Held:
    """One install at a time; errors of the file system become an AgentError."""

    def __init__(self, tree: RootFs) -> None:
        self._tree = tree
        self._handle = -1

    def __enter__(self) -> None:
        from fcntl import LOCK_EX, LOCK_NB, flock

        try:
            self._handle = self._tree.open_directory("/etc")
        except OSError as failed:
            raise ConfigError(f"{self._tree.root}: not the root of a system: /etc: {failed.strerror}") from failed
        try:
            flock(self._handle, LOCK_EX | LOCK_NB)
        except OSError as failed:
            os.close(self._handle)
            raise RefusedError("another install or uninstall is running; try again when it has ended") from failed

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        os.close(self._handle)
        if isinstance(error, OSError):
            hint = " (needs root)" if isinstance(error, PermissionError) else ""
            raise AgentError(
                f"{error.filename or self._tree.root}: {error.strerror}{hint}; what was installed is in the manifest:"
                " do it again, or uninstall"
            ) from error
