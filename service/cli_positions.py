"""The commands about positions. All of them are clients of the HTTP API, so they can do nothing that it cannot."""

import json
import secrets
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from service.api_positions import new_id
from service.cli_client import Client, Failed, client_options, read_plan, read_plan_file
from service.cli_tables import events_table, position_tables, positions_table, print_json
from service.decimals import parse_decimal, plain


class DecimalType(click.ParamType[Decimal]):
    """An exact number on the command line."""

    name = "decimal"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """Refuse whatever is not plain digits."""
        if isinstance(value, Decimal):
            return value
        try:
            number = parse_decimal(value)
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)
        if number <= 0:
            self.fail(f"{value!r} must be above 0", param, ctx)
        return number


DECIMAL = DecimalType()


@click.command("open")
@click.argument("symbol")
@click.argument("side", type=click.Choice(["long", "short"]))
@click.argument("quantity", type=DECIMAL)
@click.option("--account", help="Needed where there are several.")
@click.option("--plan", default="runner", show_default=True, help="The name of a plan, or a JSON or TOML file.")
@click.option("--id", "position_id", help="Makes a repeat harmless.")
@click.option("--preview", is_flag=True, help="Print every price and quantity, send nothing.")
@click.option("--yes", is_flag=True, help="Do not ask, also for a live account.")
@client_options
def open_command(*, symbol: str, side: str, quantity: Decimal, position_id: str | None, **options: Any) -> None:
    """Send the entry order and manage what it fills."""
    body = {"symbol": symbol, "side": side, "quantity": plain(quantity), "id": position_id or new_id()}
    _enter(body, f"open {side} {plain(quantity)} {symbol}", **options)


@click.command()
@click.argument("symbol")
@click.option("--account", help="Needed where there are several.")
@click.option("--plan", default="runner", show_default=True, help="The name of a plan, or a JSON or TOML file.")
@click.option(
    "--foreign-orders", type=click.Choice(["keep", "cancel"]), help="What to do with exit orders found there."
)
@click.option("--act-now", is_flag=True, help="Allow what acts at once, because the price is already past it.")
@click.option("--id", "position_id", help="Makes a repeat harmless.")
@click.option("--preview", is_flag=True, help="Print every price and quantity, change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask, also for a live account.")
@client_options
def adopt(*, symbol: str, foreign_orders: str | None, act_now: bool, position_id: str | None, **options: Any) -> None:
    """Take over a position that is already on the venue."""
    body = {"symbol": symbol, "adopt": True, "act_now": act_now, "id": position_id or new_id()}
    if foreign_orders:
        body["foreign_orders"] = foreign_orders
    _enter(body, f"adopt {symbol}", **options)


def _enter(
    body: dict[str, Any],
    what: str,
    *,
    account: str | None,
    plan: str,
    preview: bool,
    yes: bool,
    url: str | None,
    config: Path | None,
) -> None:
    """Open or adopt."""
    body["plan"] = read_plan(plan)
    client = Client.of(url, config)
    chosen = _account(client, account)
    body["account"] = chosen["account"]
    if chosen["live_money"] and not (preview or yes):
        click.confirm(f"{what} on the live account {chosen['account']}?", abort=True, err=True)
    repeat = f"Repeat the same command with --id {body['id']}."
    # Only preview=true is a parameter: leaving it out is what sends.
    parameters = {"preview": "true"} if preview else {}
    position = client.send("POST", "/v1/positions", repeat=repeat, json=body, params=parameters)
    title = "preview: nothing was sent" if preview else f"{position['id']}: {position['phase']}"
    position_tables(position, title)


def _account(client: Client, name: str | None) -> dict[str, Any]:
    """The account that is meant: the one named, or the only one there is."""
    accounts: list[dict[str, Any]] = client.get("/v1/accounts")["accounts"]
    found = [account for account in accounts if name in (None, account["account"])]
    if len(found) == 1:
        return found[0]
    if not accounts:
        raise Failed("the service has no account ready yet; ask again in a moment")
    names = ", ".join(account["account"] for account in accounts)
    raise click.UsageError(
        f"there is no account {name}; there are: {names}" if name else f"name one of --account {names}"
    )


@click.command()
@click.option("--all", "everything", is_flag=True, help="Closed ones too.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@client_options
def positions(*, everything: bool, as_json: bool, url: str | None, config: Path | None) -> None:
    """List the positions."""
    client = Client.of(url, config)
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = client.get("/v1/positions", phase="all" if everything else None, limit=1000, cursor=cursor)
        found += page["positions"]
        cursor = page["next"]
        if cursor is None:
            break
    if as_json:
        print_json(found)
    elif found:
        positions_table(found)
    else:
        click.echo("no position" if everything else "no position is open; --all shows closed ones")


@click.command()
@click.argument("position_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@client_options
def show(*, position_id: str, as_json: bool, url: str | None, config: Path | None) -> None:
    """Show one position."""
    position = Client.of(url, config).get(_path(position_id))
    if as_json:
        print_json(position)
    else:
        position_tables(position)


@click.command()
@click.argument("position_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@client_options
def events(*, position_id: str, as_json: bool, url: str | None, config: Path | None) -> None:
    """Show a position's audit trail."""
    found = Client.of(url, config).get(f"{_path(position_id)}/events")["events"]
    if as_json:
        print_json(found)
    else:
        events_table(found)


@click.command()
@click.argument("position_id", metavar="ID")
@click.option("--fraction", type=DECIMAL, default=Decimal(1), help="Of what remains; all of it unless given.")
@click.option("--request-id", help="Repeats an earlier close of a fraction, which then closes once.")
@client_options
def close(*, position_id: str, fraction: Decimal, request_id: str | None, url: str | None, config: Path | None) -> None:
    """Close a position, or a fraction of what remains."""
    if fraction > 1:
        raise click.BadParameter("a fraction is at most 1", param_hint="--fraction")
    body = {"fraction": plain(fraction)}
    repeat = "Repeat the same command."
    if fraction < 1 or request_id:
        body["request_id"] = request_id or secrets.token_hex(6)
        repeat = f"Repeat the same command with --request-id {body['request_id']}."
    accepted = Client.of(url, config).send("POST", f"{_path(position_id)}/close", repeat=repeat, json=body)
    said = f"closing {accepted['quantity']} as {accepted['leg']}"
    click.echo(said + (f", request id {accepted['request_id']}" if accepted["request_id"] else ""))


@click.command()
@click.argument("position_id", metavar="ID")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--version", type=int, help="Only if the position still has this version.")
@click.option("--allow-looser-stop", is_flag=True, help="Allow a stop that risks more than the present one.")
@click.option("--act-now", is_flag=True, help="Allow what acts at once, because the price is already past it.")
@client_options
def plan(
    *,
    position_id: str,
    file: Path,
    version: int | None,
    allow_looser_stop: bool,
    act_now: bool,
    url: str | None,
    config: Path | None,
) -> None:
    """Amend a position's plan by the one in FILE (JSON or TOML)."""
    body = read_plan_file(file)
    body.update({key: True for key, on in (("allow_looser_stop", allow_looser_stop), ("act_now", act_now)) if on})
    headers = {"Content-Type": "application/json", **({"If-Match": f'"{version}"'} if version is not None else {})}
    # TOML has dates, which JSON has not; as text the service refuses them by name.
    content = json.dumps(body, default=str).encode()
    amended = Client.of(url, config).send("PUT", f"{_path(position_id)}/plan", content=content, headers=headers)
    position_tables(amended, f"{position_id}: revision {amended['plan_revision']}")


def _path(position_id: str) -> str:
    """The position's path; what cannot be an id is wrong usage, before it becomes another path."""
    if (
        not position_id
        or len(position_id) > 64
        or not all(c.isascii() and (c.isalnum() or c in "_-") for c in position_id)
    ):
        raise click.BadParameter("an id is 1 to 64 letters, digits, - and _", param_hint="ID")
    return f"/v1/positions/{position_id}"
