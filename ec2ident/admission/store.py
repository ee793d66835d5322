"""What servers remember: which challenges were used, and which key each instance came with first.

`Store` is the interface: `use` and `claim` must each be one step for all servers. `SqliteStore` keeps both in a file
that the processes of one machine share. For several machines, write the five methods for your database: a unique
constraint (SQL), a conditional put (DynamoDB), SET NX (Redis).
"""

from __future__ import annotations

import os
from enum import Enum

from ec2ident.dependency import Loading
from ec2ident.value import Value

from .errors import AdmissionUnavailableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from sqlite3 import Connection


class Claim(Value):
    """An instance and the key that it comes with. `started` is the document's pending time, as microseconds."""

    account: str
    instance: str
    #: SHA-256 of the key's SubjectPublicKeyInfo, in hex.
    key: str
    started: int


class Claimed(str, Enum):
    """What became of a claim; the first two let the instance in."""

    FIRST = "first"
    KNOWN = "known"
    OTHER_KEY = "other-key"
    KEY_OF_ANOTHER = "key-of-another"
    OLDER_DOCUMENT = "older-document"


class Store:
    """The interface of a store. Methods raise AdmissionUnavailableError where the store could not be asked."""

    def secret(self) -> bytes:
        """32 octets that all servers of one audience share, made once at random."""
        raise NotImplementedError

    def use(self, nonce: bytes, expires: int, now: float) -> bool:
        """Record a nonce. True the first time, and False ever after: of two servers at once, one gets True.

        It may be forgotten an hour after `expires` (seconds since the epoch), when every server's clock refuses it.
        """
        raise NotImplementedError

    def claim(self, claim: Claim) -> Claimed:
        """Record the key of an instance. Of two first claims at once, one is FIRST.

        Another key for a known instance is OTHER_KEY, a key that another instance has KEY_OF_ANOTHER, and a document
        that started before the last one OLDER_DOCUMENT; a later one is remembered.
        """
        raise NotImplementedError

    def release(self, account: str, instance: str) -> bool:
        """Forget the key of an instance, by an administrator's decision; False where there is none."""
        raise NotImplementedError

    def instance_of(self, key: str) -> tuple[str, str] | None:
        """The account and instance id that a key (SHA-256, hex) was admitted for: who sends this request?"""
        raise NotImplementedError


_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS secret (id INTEGER PRIMARY KEY CHECK (id = 1), value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS nonces (id BLOB PRIMARY KEY, expires INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS nonces_expires ON nonces (expires);
CREATE TABLE IF NOT EXISTS instances (
    account TEXT NOT NULL, instance TEXT NOT NULL, key TEXT NOT NULL UNIQUE, started INTEGER NOT NULL,
    PRIMARY KEY (account, instance)
) WITHOUT ROWID;
"""
#: Nonces are forgotten this many seconds after their end: clocks of several servers may differ.
_KEPT = 3600


class SqliteStore(Store):
    """A store in one SQLite file. Safe in several threads and processes of one machine; not on a network file system.

    The file is made with mode 0600, because it holds the secret of the challenges; ValueError where other users may
    read it, or where it is not such a file. `timeout` is how long to wait for another process, in seconds.
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout: float = 5.0) -> None:
        self.path, self.timeout = os.fspath(path), timeout
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            mode = os.fstat(descriptor).st_mode
        finally:
            os.close(descriptor)
        if os.name == "posix" and mode & 0o077:
            raise ValueError(f"{self.path}: mode {mode & 0o777:o}, and it holds a secret; chmod 600")
        self._prepare()

    def _prepare(self) -> None:
        import sqlite3

        with self._connection() as db:
            try:
                version = db.execute("PRAGMA user_version").fetchone()[0]
            except sqlite3.DatabaseError as error:
                raise ValueError(f"{self.path}: {error}") from error
            if version not in (0, _VERSION):
                raise ValueError(f"{self.path}: version {version} of the store (this program knows {_VERSION})")
            with _writing(db):
                for statement in _SCHEMA.split(";\n"):
                    db.execute(statement)
                db.execute("INSERT OR IGNORE INTO secret VALUES (1, ?)", (os.urandom(32),))
                db.execute(f"PRAGMA user_version = {_VERSION}")

    def secret(self) -> bytes:
        """32 octets that all servers with this file share."""
        with self._connection() as db:
            return bytes(db.execute("SELECT value FROM secret").fetchone()[0])

    def use(self, nonce: bytes, expires: int, now: float) -> bool:
        """Record a nonce; True the first time."""
        with self._connection() as db, _writing(db):
            db.execute("DELETE FROM nonces WHERE expires < ?", (int(now) - _KEPT,))
            return db.execute("INSERT OR IGNORE INTO nonces VALUES (?, ?)", (nonce, expires)).rowcount == 1

    def claim(self, claim: Claim) -> Claimed:
        """Record the key of an instance, in one transaction."""
        where = (claim.account, claim.instance)
        with self._connection() as db, _writing(db):
            known = db.execute(
                "SELECT key, started FROM instances WHERE account = ? AND instance = ?", where
            ).fetchone()
            if known is None:
                values = (*where, claim.key, claim.started)
                made = db.execute("INSERT OR IGNORE INTO instances VALUES (?, ?, ?, ?)", values).rowcount
                return Claimed.FIRST if made else Claimed.KEY_OF_ANOTHER
            key, started = known
            if key != claim.key:
                return Claimed.OTHER_KEY
            if claim.started < started:
                return Claimed.OLDER_DOCUMENT
            db.execute("UPDATE instances SET started = ? WHERE account = ? AND instance = ?", (claim.started, *where))
            return Claimed.KNOWN

    def release(self, account: str, instance: str) -> bool:
        """Forget the key of an instance; False where there is none."""
        with self._connection() as db, _writing(db):
            where = "DELETE FROM instances WHERE account = ? AND instance = ?"
            return db.execute(where, (account, instance)).rowcount == 1

    def instance_of(self, key: str) -> tuple[str, str] | None:
        """The account and instance id that a key was admitted for, or None."""
        with self._connection() as db:
            row = db.execute("SELECT account, instance FROM instances WHERE key = ?", (key,)).fetchone()
            return None if row is None else (row[0], row[1])

    def _connection(self) -> AbstractContextManager[Connection]:
        """A connection for one operation: nothing to share between threads, and nothing to inherit over a fork."""
        from contextlib import contextmanager

        @contextmanager
        def opened() -> Iterator[Connection]:
            with Loading("sqlite3", AdmissionUnavailableError):
                import sqlite3

            try:
                db = sqlite3.connect(self.path, timeout=self.timeout, isolation_level=None)
                try:
                    yield db
                finally:
                    db.close()
            except sqlite3.Error as error:
                raise AdmissionUnavailableError(f"{self.path}: {error}") from error

        return opened()


def _writing(db: Connection) -> AbstractContextManager[None]:
    """One transaction that has the right to write from its beginning, so that what it reads cannot change under it."""
    from contextlib import contextmanager

    @contextmanager
    def transaction() -> Iterator[None]:
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    return transaction()
