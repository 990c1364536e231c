"""Commands on folders of records: ``results merge``."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.errors import UserError, as_user_error

if TYPE_CHECKING:
    from results.schema import Record

app = typer.Typer(help="Folders of records: merge.", no_args_is_help=True)


def _shown(record: "Record", folder: Path) -> str:
    metrics = ", ".join(f"{name} {value:.6g}" for name, value in sorted(record.metrics.items()))
    where = f"{record.provenance.get('platform', 'unknown platform')}, {record.provenance.get('finished', 'no date')}"
    status = f"{record.status} ({record.reason})" if record.reason else record.status
    return f"    {folder}: {status}; {metrics or 'no metrics'}; {where}"


@app.command()
def merge(
    sources: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of records.")],
    into: Annotated[Path, typer.Option(help="Folder that gets them all.")] = Path("results/runs"),
) -> None:
    """Unite records of several machines, all or none: two that differ under one id are shown and refused."""
    from results.store import Store, StoreError

    target = Store(into)
    standing = {record.id: (record, into) for record in target.load()[0]}
    new: dict[str, tuple[Record, Path]] = {}
    conflicts, equal = [], 0
    for folder in sources:
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder of records")
        records, corrupt = Store(folder).load()
        if corrupt:
            raise UserError(f"nothing merged: {corrupt[0].path} holds no record: {corrupt[0].reason}")
        for record in records:
            other = standing.get(record.id) or new.get(record.id)
            if other is None:
                new[record.id] = record, folder
            elif (record.status, record.metrics, record.curve) == (other[0].status, other[0].metrics, other[0].curve):
                equal += 1
            else:
                name = f"  {record.id}  {record.method} · {record.task} · seed {record.seed}"
                conflicts.append("\n".join([name, _shown(*other), _shown(record, folder)]))
    if conflicts:
        raise UserError("nothing merged, these records differ; remove one of each:\n" + "\n".join(conflicts))
    told = {"before": f"stopped, {into} cannot be written: ", "after": "; the same command goes on from here"}
    with as_user_error(OSError, shutil.Error, StoreError, **told):
        target.prepare()
        for record, folder in new.values():
            target.adopt(record, Store(folder).folder(record.id))
    print(f"{into}: {len(new)} records taken over, {equal} were there already")
