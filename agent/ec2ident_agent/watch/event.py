"""What watch tells: lines for people, and events for programs. Pure.

docs/operators.md has the table of the events; their names and keys are a promise to the programs that read them.
"""

from __future__ import annotations

from ec2ident.value import Value

#: The events for programs.
DRIFT, REPAIRED, ADDED, REMOVED = "drift", "repaired", "added", "removed"
GIVEN_UP, TROUBLE, STATE = "given_up", "trouble", "state"
#: A line for people alone.
STEP = "step"


class Program(Value):
    """A program that asked the kernel to delete one of our items: its name, and the number of its process."""

    name: str
    process: int

    def __str__(self) -> str:
        return f"{self.name} (process {self.process})"


class WatchEvent(Value):
    """One thing that watch saw or did. Without a `text` there is no line for people."""

    kind: str
    #: For STEP the command that does the same.
    text: str = ""
    #: Whether the line should stand out.
    loud: bool = False
    owner: str = ""
    item: str = ""
    program: Program | None = None
    #: The setting that prevents it.
    prevent: str = ""
    #: For STATE: how the node is, in one line, and whether that is as it should be.
    state: str = ""
    in_order: bool | None = None

    def fields(self) -> dict[str, str]:
        """For the log of the system: what an administrator filters by."""
        by = self.program.name if self.program else ""
        return {"event": self.kind, "owner": self.owner, "item": self.item, "by": by}

    def public(self) -> dict[str, object]:
        """For programs: what is known; {} for what is for people alone."""
        if self.kind == STEP:
            return {}
        found: dict[str, object] = {"event": self.kind, "owner": self.owner, "item": self.item}
        if self.program:
            found.update(by=self.program.name, process=self.program.process)
        found.update(prevent=self.prevent, state=self.state, text=self.text)
        known = {name: value for name, value in found.items() if value != ""}
        return known if self.in_order is None else {**known, "in_order": self.in_order}
