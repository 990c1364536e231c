"""Records on disk: one JSON file per run, beside a folder of artefacts, written whole or not at all."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from results.schema import Record

ID = re.compile(r"[0-9a-f]{16}")
WORK, LOCKS = ".work", ".locks"
LARGEST = 2**26  # bytes of a record


def _digest(content: dict[str, Any]) -> str:
    """Tells whether a record was changed by hand; no proof against intent."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _small(digits: str) -> int:
    if len(digits) > 20 or abs(int(digits)) >= 2**63:  # nothing that reads records is made for more
        raise ValueError(f"it holds a whole number of {len(digits)} digits")
    return int(digits)


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all: temporary file, fsync, rename.

    Raises:
        OSError: it cannot be written; what stood there stands.
    """
    temporary = path.with_name(f".{path.name}-{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


class StoreError(Exception):
    """The folder cannot be used; says why and what to do."""


@dataclass(frozen=True)
class Corrupt:
    """A file that should hold a record and does not."""

    path: Path
    reason: str


class Store:
    """A folder of records.

    Args:
        root: the folder; need not exist until something is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def prepare(self) -> None:
        """Creates the folder, proves that it can be written, and removes what killed runs left of finished cells.

        Raises:
            StoreError: it cannot.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for inner in (WORK, LOCKS):
                if (self.root / inner).is_symlink():
                    raise StoreError(f"{self.root / inner} is a link, which could lead anywhere: remove it")
            tempfile.TemporaryFile(dir=self.root).close()  # of no name, so that no kill leaves it behind
            self._clear()
        except OSError as error:
            raise StoreError(
                f"results folder {self.root} cannot be written ({error.strerror}): choose another with --results"
            ) from error

    def _clear(self) -> None:
        """Removes half-written records, and of cells whose record stands whatever else than artefacts; none at work."""
        for path in [*self.root.glob(".*.tmp"), *(self.root / WORK).glob("*")]:
            id = path.name.lstrip(".")[:16]
            if not ID.fullmatch(id) or (path.parent != self.root and not self.path(id).exists()):
                continue
            written = [part.stat().st_mtime for part in path.rglob("*") if path.suffix == ".state" and part.is_file()]
            if written and max(written) > self.path(id).stat().st_mtime:
                continue  # of a run of the cell after that record, which goes on from there
            with contextlib.suppress(Timeout), self.lock(id).acquire(blocking=False), self.hold(id, blocking=False):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def path(self, id: str) -> Path:
        """Where the record ``id`` stands or will stand.

        Raises:
            ValueError: ``id`` is not 16 hex digits.
        """
        if not ID.fullmatch(id):
            raise ValueError(f"record id {id!r} must be 16 hex digits")
        return self.root / f"{id}.json"

    def folder(self, id: str) -> Path:
        """Where the artefacts of record ``id`` stand."""
        return self.path(id).with_suffix("")

    def lock(self, id: str) -> FileLock:
        """The lock of a run that sees to ``id``; not yet acquired."""
        folder = self.root / LOCKS
        folder.mkdir(exist_ok=True)
        return FileLock(folder / self.path(id).name)

    def hold(self, id: str, blocking: bool = True) -> contextlib.AbstractContextManager[object]:
        """Acquires the lock of the process that writes files of ``id``, which may outlive a killed run by a moment."""
        return FileLock(Path(self.lock(id).lock_file).with_suffix(".work")).acquire(blocking=blocking)

    def log_path(self, id: str) -> Path:
        """Where a worker's output goes while ``id`` is under way."""
        folder = self.root / WORK
        folder.mkdir(exist_ok=True)
        return folder / f"{self.path(id).stem}.log"

    def workspace(self, id: str) -> Path:
        """An empty folder for the artefacts of a run under way; :meth:`commit` moves it into place."""
        work = self.root / WORK / self.path(id).stem
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        return work

    def state_folder(self, id: str) -> Path:
        """Where a run under way keeps what it needs to go on after a kill; need not exist."""
        return self.root / WORK / f"{self.path(id).stem}.state"

    def under_way(self, id: str) -> str:
        """``running`` while some process holds the cell, ``interrupted`` where one left it half-done, else empty."""
        try:
            if (self.root / LOCKS / self.path(id).name).exists():
                self.lock(id).acquire(blocking=False).lock.release()
        except Timeout:
            return "running"
        except OSError:  # a folder that can only be read
            pass
        # a node of a cluster works in a store within the workspace
        return "interrupted" if any((self.root / WORK).glob(f"**/{id}.state")) else ""

    def commit(self, record: Record) -> None:
        """Moves the run's workspace, if any, into place, then writes the record."""
        content = record.model_dump(mode="json")
        # JSON has no NaN: a record that holds one is refused before anything is moved
        text = json.dumps({**content, "digest": _digest(content)}, indent=1, allow_nan=False)
        target = self.path(record.id)
        work = self.root / WORK / record.id
        if work.exists():
            target.unlink(missing_ok=True)  # a record that stands always fits its artefacts
            if self.folder(record.id).is_symlink():
                self.folder(record.id).unlink()
            shutil.rmtree(self.folder(record.id), ignore_errors=True)
            os.rename(work, self.folder(record.id))
        write_whole(target, text.encode())
        shutil.rmtree(self.state_folder(record.id), ignore_errors=True)

    def get(self, id: str) -> Record | None:
        """The record ``id``, or None where none stands or the one that does is corrupt."""
        found = self._read(self.path(id))
        return found if isinstance(found, Record) else None

    def load(self) -> tuple[list[Record], list[Corrupt]]:
        """All records in order of their ids, and the files that hold none."""
        found = [self._read(path) for path in sorted(self.root.glob("[0-9a-f]*.json")) if ID.fullmatch(path.stem)]
        return [x for x in found if isinstance(x, Record)], [x for x in found if isinstance(x, Corrupt)]

    def adopt(self, record: Record, folder: Path) -> None:
        """Takes over a record of another store with the plain files of its artefacts; links are left behind."""
        work = self.workspace(record.id)
        for path in sorted(folder.rglob("*")) if not folder.is_symlink() else []:
            inside = path.relative_to(folder)
            if path.is_file() and not any((folder / part).is_symlink() for part in (inside, *inside.parents)):
                (work / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, work / inside)
        self.commit(record)

    def _read(self, path: Path) -> Record | Corrupt | None:
        try:
            if path.is_symlink() or not path.is_file():
                return Corrupt(path, "it is no plain file") if path.is_symlink() or path.exists() else None
            if path.stat().st_size > LARGEST:
                return Corrupt(path, f"it is larger than {LARGEST} bytes")
            content = json.loads(path.read_bytes(), parse_int=_small)
            digest = content.pop("digest", None)
            record = Record.model_validate_json(json.dumps(content, allow_nan=False))
        except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
            return Corrupt(path, str(error).splitlines()[0])
        if record.id != path.stem:
            return Corrupt(path, f"it holds the record {record.id}")
        if digest is not None and digest != _digest(content):
            return Corrupt(path, "it was changed after it was written")
        return record
