"""A strict reader of the API's XML: no DTD, no entities, and bounded in depth and number of elements.

It uses expat without ElementTree, because ElementTree offers neither these bounds nor the refusal of a DTD.
"""

from __future__ import annotations

from ec2ident_agent.failover.errors import MalformedResponseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: An answer of 100 tables with 100 routes each has 60,000 elements.
DEPTH, ELEMENTS = 24, 500_000


class Element:
    """An element: its local name, its text, its children."""

    __slots__ = ("_parts", "children", "tag", "text")

    def __init__(self, tag: str) -> None:
        self.tag, self.text = tag, ""
        self.children: list[Element] = []
        self._parts: list[str] = []

    def add(self, text: str) -> None:
        """One more piece of its text; `text` is complete after `close`."""
        self._parts.append(text)

    def close(self) -> None:
        """Join the pieces: to append each to a text would take quadratic time."""
        self.text, self._parts = "".join(self._parts), []

    def find(self, path: str) -> Element | None:
        """The only element at a path such as `attachment/status`, or None. Raises MalformedResponseError for two."""
        node = self
        for tag in path.split("/"):
            found = [child for child in node.children if child.tag == tag]
            if len(found) > 1:
                raise MalformedResponseError(f"{node.tag}: {len(found)} times {tag} (expected one)")
            if not found:
                return None
            node = found[0]
        return node

    def all(self, path: str) -> Iterator[Element]:
        """Every element at a path; none if the path does not exist."""
        head, _, last = path.rpartition("/")
        parent = self.find(head) if head else self
        return iter([child for child in parent.children if child.tag == last] if parent else [])

    def maybe(self, path: str) -> str | None:
        """The text at a path, None if it is absent."""
        found = self.find(path)
        return None if found is None else found.text.strip()

    def get(self, path: str) -> str:
        """The text at a path. Raises MalformedResponseError if it is absent or empty."""
        found = self.maybe(path)
        if not found:
            raise MalformedResponseError(f"{self.tag}: no {path} in the answer")
        return found


class _Builder:
    def __init__(self) -> None:
        self.root = Element("")
        self.open = [self.root]
        self.count = 0

    def start(self, name: str, _: dict[str, str]) -> None:
        self.count += 1
        if len(self.open) > DEPTH or self.count > ELEMENTS:
            raise MalformedResponseError(f"XML deeper than {DEPTH} or more than {ELEMENTS} elements")
        node = Element(name.rpartition(":")[2])
        self.open[-1].children.append(node)
        self.open.append(node)

    def end(self, _: str) -> None:
        self.open.pop().close()

    def data(self, text: str) -> None:
        self.open[-1].add(text)


def _forbidden(*_: object) -> None:
    raise MalformedResponseError("XML with a DOCTYPE or an entity of its own")


def parse(data: bytes) -> Element:
    """The root element. Raises MalformedResponseError."""
    from xml.parsers import expat

    builder, parser = _Builder(), expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = builder.start, builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = _forbidden
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise MalformedResponseError(f"not XML: {error}") from None
    except (ValueError, LookupError) as error:
        # The encoding is one that expat does not support.
        raise MalformedResponseError(f"not XML: {error}") from None
    return builder.root.children[0]
