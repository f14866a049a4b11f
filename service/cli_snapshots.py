"""`exitkeeper snapshots`: what is stored, decoded, while the service runs and while it does not. Never writes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from actors.directory import Published
from actors.domain.model import Phase, Position
from actors.domain.schema import load
from persistence.store import Fence, Loaded, Snapshot, SnapshotCorrupt, Store, StoreUnreachable
from service.cli_client import BadConfiguration, Failed, foreseen
from service.cli_tables import print_json, table
from service.config_load import load_config
from service.config_reader import ConfigError
from service.views import position_view

# Stands in for a fence that cannot be read: no snapshot is accused of its epoch.
_ANY_EPOCH = Fence(epoch=2**63 - 1, revision=0, write_id="")


@click.group()
def snapshots() -> None:
    """What is stored in Redis, decoded."""


def _options(command: Any) -> Any:
    command = click.option("--data-dir", type=click.Path(path_type=Path), help="Where the service keeps its data.")(
        command
    )
    return click.option("--config", type=click.Path(path_type=Path), help="The service's configuration file.")(command)


@contextmanager
def _store(config: Path | None, data_dir: Path | None) -> Iterator[Store]:
    """The store of this configuration. Raises Failed when it cannot be reached."""
    from service.bootstrap import open_store  # noqa: PLC0415  Everything else starts without what it loads.

    try:
        settings = load_config(config, data_dir=data_dir)
    except ConfigError as error:
        raise BadConfiguration(error) from None
    if settings.redis.url is None and not (settings.data_dir / "redis").is_dir():
        raise Failed(f"nothing is stored in {settings.data_dir}: name the service's --data-dir or --config")
    try:
        store, done = open_store(settings)
    except Exception as error:
        # Starting an embedded server may fail in many ways, each with a message of its own.
        if foreseen(error):
            raise Failed(str(error)) from None
        raise
    try:
        yield store
    except StoreUnreachable as error:
        raise Failed(f"Redis cannot be reached: {error}. `exitkeeper doctor` says more") from None
    finally:
        done()


@snapshots.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@_options
def list_command(*, as_json: bool, config: Path | None, data_dir: Path | None) -> None:
    """List every open snapshot, and the latest closed ones."""
    rows: list[dict[str, Any]] = []
    with _store(config, data_dir) as store:
        for shard in store.shards():
            loaded = store.load(shard)
            rows += [_row(shard, snapshot, "open") for snapshot in loaded.snapshots]
            rows += [_row(shard, snapshot, "closed") for snapshot in loaded.closed]
            rows += [
                {"shard": shard, "id": position_id, "kept": "open", "phase": f"unreadable: {error}"}
                for position_id, error in loaded.corrupt.items()
            ]
    if as_json:
        print_json(rows)
        return
    columns = (
        "shard",
        "id",
        "kept",
        "version",
        "epoch",
        "schema",
        "phase",
        "symbol",
        "side",
        "remaining",
        "stop_price",
    )
    table(None, columns, ([row.get(column) for column in columns] for row in rows))


def _row(shard: str, snapshot: Snapshot, kept: str) -> dict[str, Any]:
    state = snapshot.state
    shown = {key: state.get(key) for key in ("symbol", "side", "remaining", "stop_price")}
    return {
        "shard": shard,
        "id": snapshot.position_id,
        "kept": kept,
        "version": snapshot.version,
        "epoch": snapshot.epoch,
        "schema": snapshot.schema,
        # A value that equals its default is not written: a new position is opening.
        "phase": state.get("phase", Phase.OPENING.value),
        **shown,
    }


@snapshots.command()
@click.argument("position_id", metavar="ID")
@click.option("--raw", is_flag=True, help="As stored, field by field.")
@_options
def show(*, position_id: str, raw: bool, config: Path | None, data_dir: Path | None) -> None:
    """Show one snapshot, as JSON."""
    with _store(config, data_dir) as store:
        for shard in store.shards():
            try:
                snapshot = store.read(shard, position_id)
            except SnapshotCorrupt as error:
                raise Failed(f"the snapshot of {position_id} in shard {shard} cannot be read: {error}") from None
            if snapshot is not None:
                _show(shard, snapshot, raw=raw)
                return
    raise Failed(f"no snapshot has the id {position_id}; `exitkeeper snapshots list` names them")


def _show(shard: str, snapshot: Snapshot, *, raw: bool) -> None:
    envelope = {
        "shard": shard,
        "schema": snapshot.schema,
        "version": snapshot.version,
        "epoch": snapshot.epoch,
        "write_id": snapshot.write_id,
    }
    if raw:
        print_json({**envelope, "state": dict(snapshot.state)})
        return
    try:
        position = load(snapshot.state, snapshot.schema)
    except ValueError as error:
        raise Failed(f"{snapshot.position_id} cannot be decoded ({error}); --raw shows it as stored") from None
    print_json({**envelope, "position": position_view(_published(snapshot, position), None)})


def _published(snapshot: Snapshot, position: Position) -> Published:
    return Published(
        position_id=snapshot.position_id,
        account=position.account,
        position=position,
        version=snapshot.version,
        epoch=snapshot.epoch,
    )


@snapshots.command()
@_options
def verify(*, config: Path | None, data_dir: Path | None) -> None:
    """Read everything; check codec, schema, versions, epochs and membership."""
    count = 0
    faults: list[str] = []
    with _store(config, data_dir) as store:
        shards: Sequence[str] = store.shards()
        for shard in shards:
            loaded = store.load(shard)
            count += len(loaded.snapshots) + len(loaded.closed) + len(loaded.corrupt)
            try:
                fence = store.fence(shard)
            except SnapshotCorrupt as error:
                # Which epochs are its own cannot be told; everything else about the shard still can.
                faults.append(f"{shard}: {error}")
                fence = _ANY_EPOCH
            faults += check_shard(shard, loaded, fence)
    for fault in faults:
        click.echo(fault, err=True)
    click.echo(f"{count} snapshots in {len(shards)} shards, {len(faults)} faults")
    if faults:
        raise Failed("what is listed above needs a look; nothing was changed")


def check_shard(shard: str, loaded: Loaded, fence: Fence) -> list[str]:
    """Everything that is wrong with one shard, in words."""
    faults = [f"{shard}/{position_id}: {error}" for position_id, error in loaded.corrupt.items()]
    seen: set[str] = set()
    for snapshot in loaded.snapshots:
        if snapshot.position_id in seen:
            faults.append(f"{shard}/{snapshot.position_id}: is stored twice among the open ones")
        seen.add(snapshot.position_id)
        faults += [f"{shard}/{snapshot.position_id}: {fault}" for fault in _check(snapshot, fence, is_open=True)]
    for snapshot in loaded.closed:
        if snapshot.position_id in seen:
            faults.append(f"{shard}/{snapshot.position_id}: is kept as open and as closed")
        faults += [f"{shard}/{snapshot.position_id}: {fault}" for fault in _check(snapshot, fence, is_open=False)]
    return faults


def _check(snapshot: Snapshot, fence: Fence, *, is_open: bool) -> Iterator[str]:
    if snapshot.version < 1:
        yield f"version {snapshot.version} is below 1"
    if not 1 <= snapshot.epoch <= fence.epoch:
        yield f"epoch {snapshot.epoch} is not one of its shard's, which is at {fence.epoch}"
    try:
        position = load(snapshot.state, snapshot.schema)
    except ValueError as error:
        yield f"cannot be decoded: {error}"
        return
    if position.id != snapshot.position_id:
        yield f"holds the position {position.id}"
    if is_open == (position.phase is Phase.CLOSED):
        yield f"is kept among the {'open' if is_open else 'closed'} ones in phase {position.phase.value}"
