"""Records on disk: one JSON file per run, beside a folder of artefacts, written whole or not at all."""

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from results.schema import Record

ID = re.compile(r"[0-9a-f]{16}")
WORK = ".work"


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
        """Creates the folder and proves that it can be written.

        Raises:
            StoreError: it cannot.
        """
        probe = self.root / f".probe-{os.getpid()}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise StoreError(
                f"results folder {self.root} cannot be written ({error.strerror}): choose another with --results"
            ) from error

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

    def lock_path(self, id: str) -> Path:
        """The file whose lock means that some process is at work on ``id``."""
        folder = self.root / ".locks"
        folder.mkdir(exist_ok=True)
        return folder / self.path(id).name

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

    def commit(self, record: Record) -> None:
        """Moves the run's workspace, if any, into place, then writes the record: temporary file, fsync, rename."""
        target = self.path(record.id)
        work = self.root / WORK / record.id
        if work.exists():
            target.unlink(missing_ok=True)  # a record that stands always fits its artefacts
            shutil.rmtree(self.folder(record.id), ignore_errors=True)
            os.rename(work, self.folder(record.id))
        temporary = self.root / f".{record.id}-{os.getpid()}.tmp"
        with open(temporary, "w") as file:
            # JSON has no NaN: a record that holds one is refused here, before anything is written under its name
            json.dump(record.model_dump(), file, indent=1, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        shutil.rmtree(self.state_folder(record.id), ignore_errors=True)

    def get(self, id: str) -> Record | None:
        """The record ``id``, or None where none stands or the one that does is corrupt."""
        found = self._read(self.path(id))
        return found if isinstance(found, Record) else None

    def load(self) -> tuple[list[Record], list[Corrupt]]:
        """All records in order of their ids, and the files that hold none."""
        found = [self._read(path) for path in sorted(self.root.glob("[0-9a-f]*.json")) if ID.fullmatch(path.stem)]
        return [x for x in found if isinstance(x, Record)], [x for x in found if isinstance(x, Corrupt)]

    def _read(self, path: Path) -> Record | Corrupt | None:
        try:
            record = Record.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            return Corrupt(path, str(error).splitlines()[0])
        return record if record.id == path.stem else Corrupt(path, f"holds the record {record.id}")
