"""How far each volume has been read: small files that let an interrupted run go on, also after a reboot."""

from __future__ import annotations

import os

from ec2ident_agent.errors import AgentError
from ec2ident_agent.state import statefile

#: A reboot keeps it: the blocks that were read stay where they are.
DIRECTORY = "/var/lib/ec2ident"
KIND, VERSION = "ec2ident-warm", 1


class Positions:
    """The files of one directory, one for each volume."""

    def __init__(self, directory: str = DIRECTORY) -> None:
        self.directory = directory

    def read(self, identity: str) -> int:
        """The first byte that has not been read; 0 for a volume that is new here.

        A file that is damaged counts as none: the volume is read from the start. Raises AgentError for a directory
        that other users may write.
        """
        try:
            statefile.check_directory(self.directory)
        except statefile.DamagedError as wrong:
            raise AgentError(f"{self.directory}: {wrong}") from wrong
        try:
            data = statefile.read(self._path(identity))
            records = [] if data is None else statefile.unpack(KIND, VERSION, data)
        except (statefile.DamagedError, OSError):
            return 0
        if len(records) != 1 or len(records[0]) != 2:
            return 0
        # Two volumes may have one file name: the identity in the file decides.
        found, offset = records[0]
        return int(offset) if found == identity and offset.isascii() and offset.isdigit() and len(offset) < 20 else 0

    def write(self, identity: str, offset: int) -> None:
        """Keep the position. Raises OSError."""
        statefile.make_directory(self.directory)
        statefile.write(self._path(identity), statefile.pack(KIND, VERSION, [(identity, str(offset))]))

    def forget(self, identity: str) -> None:
        """The volume has been read to its end."""
        try:
            os.unlink(self._path(identity))
        except OSError:
            return

    def _path(self, identity: str) -> str:
        from zlib import crc32

        return os.path.join(self.directory, f"warm-{crc32(identity.encode('utf-8', 'replace')):08x}")
