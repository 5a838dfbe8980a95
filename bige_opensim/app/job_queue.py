"""Users and jobs in one SQLite file, which outlives the server.

A job waits, runs, and ends: done, failed or cancelled. What decides whether it is done is not this table but the job's
own folder (`job_process`): a process writes its result there, whole, while it holds the folder's lock. So a server that
is killed at any moment loses nothing, and its successor does nothing twice: `recover` lets all that ran wait again, and
a process that is started for a job that has its result ends at once.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

State = Literal["waiting", "running", "done", "failed", "cancelled"]
ENDED = ("done", "failed", "cancelled")
BUSY_S = 30.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    name TEXT PRIMARY KEY, admitted INTEGER NOT NULL, created REAL NOT NULL, seen REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, user TEXT NOT NULL, person TEXT NOT NULL, kind TEXT NOT NULL,
    title TEXT NOT NULL, settings TEXT NOT NULL, state TEXT NOT NULL, created REAL NOT NULL, begun REAL, ended REAL,
    message TEXT NOT NULL DEFAULT '', tries INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, kind);
CREATE INDEX IF NOT EXISTS jobs_by_user ON jobs (user, person);
"""
COLUMNS = "name, user, person, kind, title, settings, state, created, begun, ended, message, tries"


class QueueFullError(RuntimeError):
    """A user has as many jobs waiting as one may."""


@dataclass(frozen=True)
class Job:
    """One piece of work: whose, on which person, of which kind, with which settings, and what became of it."""

    name: str
    user: str
    person: str
    kind: str
    title: str
    settings: Mapping[str, Any]
    state: State
    created: float
    begun: float | None
    ended: float | None
    message: str
    tries: int

    @property
    def over(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in ENDED


class JobQueue:
    """The table of jobs and users; every call is one transaction, from any thread and process."""

    def __init__(self, path: Path, most_waiting: int = 20) -> None:
        self.path, self.most_waiting = path, most_waiting
        self._lock = threading.Lock()
        self._open = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        self._open.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; {SCHEMA}")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._open.close()

    def add(self, name: str, user: str, person: str, kind: str, title: str, settings: Mapping[str, Any]) -> Job:
        """Have a job wait.

        Raises
        ------
        QueueFullError
            The user has too many that wait.

        """
        with self._transaction() as at:
            counted = at.execute("SELECT count(*) FROM jobs WHERE user = ? AND state = 'waiting'", (user,))
            if counted.fetchone()[0] >= self.most_waiting:
                raise QueueFullError(f"{self.most_waiting} jobs are waiting; wait for one, or cancel it.")
            row = (name, user, person, kind, title, json.dumps(dict(settings)), time.time())
            at.execute(
                "INSERT INTO jobs (name, user, person, kind, title, settings, state, created)"
                " VALUES (?, ?, ?, ?, ?, ?, 'waiting', ?)",
                row,
            )
            return self._one(at, name)

    def claim(self, kinds: Sequence[str]) -> Job | None:
        """Take the next job of these kinds: of the user who has waited longest for a turn, the oldest."""
        marks = ", ".join("?" * len(kinds))
        with self._transaction() as at:
            found = at.execute(
                f"SELECT name FROM jobs WHERE state = 'waiting' AND kind IN ({marks}) ORDER BY (SELECT coalesce("
                "max(other.begun), 0) FROM jobs AS other WHERE other.user = jobs.user), number LIMIT 1",
                tuple(kinds),
            ).fetchone()
            if found is None:
                return None
            at.execute(
                "UPDATE jobs SET state = 'running', begun = ?, tries = tries + 1 WHERE name = ?",
                (time.time(), found[0]),
            )
            return self._one(at, found[0])

    def end(self, name: str, state: State, message: str = "") -> bool:
        """Note what became of a job; False where that was known before, which stays."""
        with self._transaction() as at:
            changed = at.execute(
                "UPDATE jobs SET state = ?, message = ?, ended = ? WHERE name = ? AND state IN ('waiting', 'running')",
                (state, message, time.time(), name),
            )
            return changed.rowcount == 1

    def wait_again(self, name: str) -> None:
        """Have a job that ran wait for another try."""
        with self._transaction() as at:
            at.execute("UPDATE jobs SET state = 'waiting' WHERE name = ? AND state = 'running'", (name,))

    def recover(self) -> int:
        """Have all that ran wait again, with the try not counted: what a server does first. Returns how many."""
        with self._transaction() as at:
            changed = at.execute("UPDATE jobs SET state = 'waiting', tries = tries - 1 WHERE state = 'running'")
            return changed.rowcount

    def job(self, name: str) -> Job | None:
        """One job; None where there is none."""
        with self._transaction() as at:
            found = at.execute("SELECT 1 FROM jobs WHERE name = ?", (name,)).fetchone()
            return None if found is None else self._one(at, name)

    def jobs(self, user: str, person: str | None = None) -> list[Job]:
        """Jobs of a user, or on one of the user's people, the newest first."""
        of, values = ("", (user,)) if person is None else (" AND person = ?", (user, person))
        with self._transaction() as at:
            rows = at.execute(f"SELECT {COLUMNS} FROM jobs WHERE user = ?{of} ORDER BY number DESC", values).fetchall()
        return [_job(row) for row in rows]

    def before(self, job: Job, kinds: Sequence[str]) -> int:
        """How many jobs of these kinds, of anybody, run or were there before a job that waits."""
        marks = ", ".join("?" * len(kinds))
        with self._transaction() as at:
            found = at.execute(
                f"SELECT count(*) FROM jobs WHERE kind IN ({marks}) AND (state = 'running' OR (state = 'waiting' AND "
                "number < (SELECT number FROM jobs WHERE name = ?)))",
                (*kinds, job.name),
            )
            return int(found.fetchone()[0])

    def admit(self, user: str) -> None:
        """Remember a user who may come in."""
        now = time.time()
        with self._transaction() as at:
            at.execute(
                "INSERT INTO users (name, admitted, created, seen) VALUES (?, 1, ?, ?) ON CONFLICT (name) DO UPDATE SET"
                " admitted = 1, seen = excluded.seen",
                (user, now, now),
            )

    def admitted(self, user: str) -> bool:
        """Whether a user may come in."""
        with self._transaction() as at:
            found = at.execute("SELECT admitted FROM users WHERE name = ?", (user,)).fetchone()
        return found is not None and bool(found[0])

    def _one(self, at: sqlite3.Connection, name: str) -> Job:
        return _job(at.execute(f"SELECT {COLUMNS} FROM jobs WHERE name = ?", (name,)).fetchone())

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._open.execute("BEGIN IMMEDIATE")
            try:
                yield self._open
            except BaseException:
                self._open.execute("ROLLBACK")
                raise
            self._open.execute("COMMIT")


def _job(row: tuple[Any, ...]) -> Job:
    name, user, person, kind, title, settings, *rest = row
    return Job(name, user, person, kind, title, json.loads(settings), *rest)
