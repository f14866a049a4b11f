"""`exitkeeper failures`: what could not be saved at once, and why; it reads the failure log, and needs no service."""

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from actors.domain.model import Micros
from persistence.failure_log import Failure, read_failures
from persistence.words import words_for
from service.cli_client import BadConfiguration, Failed
from service.cli_replay import MomentType
from service.cli_tables import print_json, table
from service.config_load import load_config
from service.config_reader import ConfigError
from service.views import moment

FAILURES_FILE = "failures.jsonl"


@click.command()
@click.option("--position", metavar="ID", help="Only this position.")
@click.option("--since", type=MomentType(), help="Only what was written at or after this time.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The latest so many.")
@click.option("--json", "as_json", is_flag=True, help="For programs; also tells the states that were to be saved.")
@click.option("--config", type=click.Path(path_type=Path), help="The service's configuration file.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where the service keeps its data.")
def failures(
    *,
    position: str | None,
    since: Micros | None,
    limit: int,
    as_json: bool,
    config: Path | None,
    data_dir: Path | None,
) -> None:
    """What could not be saved at once, why, and what to do about it."""
    try:
        path = load_config(config, data_dir=data_dir).data_dir / FAILURES_FILE
    except ConfigError as error:
        raise BadConfiguration(error) from None
    try:
        found = list(deque(_wanted(path, position, since), maxlen=limit))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Failed(f"{error.filename or path}: {reason}; read it as the user that runs the service") from None
    if as_json:
        print_json([_fields(failure) for failure in found])
    elif found:
        table(None, ("time", "what happened", "position", "what to do"), (_row(failure) for failure in found))
    else:
        only = " that you asked for" if position or since is not None else ""
        click.echo(f"{path} tells of no failure{only}: everything was saved at once")


def _wanted(path: Path, position: str | None, since: Micros | None) -> Iterator[Failure]:
    # Times are written in one form and in UTC, so that their order is that of their letters.
    first = moment(since) or ""
    for failure in read_failures(path):
        if position in (None, failure.position_id) and failure.at >= first:
            yield failure


def _row(failure: Failure) -> tuple[Any, ...]:
    words = words_for(failure)
    return failure.at, words.why, failure.position_id or f"all of {failure.shard}", words.remedy


def _fields(failure: Failure) -> dict[str, Any]:
    words = words_for(failure)
    grew_from = failure.grew_from
    return {
        "at": failure.at,
        "kind": failure.kind,
        "why": words.why,
        "remedy": words.remedy,
        "position": failure.position_id or None,
        "shard": failure.shard,
        "epoch": failure.epoch,
        "change": failure.change,
        "error": failure.error,
        "grew_from": None
        if grew_from is None
        else {"epoch": grew_from.epoch, "version": grew_from.version, "write_id": grew_from.write_id},
        "state": failure.state,
    }
