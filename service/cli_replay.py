"""`exitkeeper replay`: the exits a plan would have made on recorded prices, with no service."""

from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import click

from actors.domain.errors import CommandRefused, PlanRefused
from actors.domain.model import Micros, Plan, Side
from actors.domain.path import BarPath, Rows
from actors.domain.plans import parse_plan
from actors.domain.replay import parse_moment, parse_rows
from actors.domain.replay import replay as run_replay
from service.cli_client import BadConfiguration, Failed, read_plan
from service.cli_positions import DECIMAL
from service.cli_tables import print_json, table
from service.config_load import load_config
from service.config_reader import ConfigError


class MomentType(click.ParamType[Micros]):
    """A time on the command line."""

    name = "timestamp"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Micros:
        """UTC unless it says otherwise."""
        if isinstance(value, int):
            return value
        try:
            return parse_moment(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--plan", "plan_name", default="runner", show_default=True, help="The name of a plan, or a JSON or TOML file."
)
@click.option("--side", type=click.Choice(["long", "short"]), required=True)
@click.option("--entry-at", type=MomentType(), required=True, help="Entered at the first price at or after this time.")
@click.option("--quantity", type=DECIMAL, default=Decimal(1), help="1 unless given.")
@click.option("--fee-percent", type=DECIMAL, help="The fee of every order, in percent; none unless given.")
@click.option(
    "--bar-path",
    type=click.Choice(["adverse-first", "favourable-first"]),
    default="adverse-first",
    show_default=True,
    help="Which extreme of a bar came first.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw it into this PNG file.")
@click.option("--config", type=click.Path(path_type=Path), help="Where named plans are configured.")
def replay(
    *,
    data: Path,
    plan_name: str,
    side: str,
    entry_at: Micros,
    quantity: Decimal,
    fee_percent: Decimal | None,
    bar_path: str,
    as_json: bool,
    plot: Path | None,
    config: Path | None,
) -> None:
    """The exits a plan would have made on DATA, a CSV file of ticks or bars."""
    plan = _plan(plan_name, config)
    rows = _rows(data)
    try:
        outcome = run_replay(
            plan,
            Side(side),
            rows,
            entry_at,
            quantity,
            fee_percent=fee_percent or Decimal(0),
            bar_path=cast(BarPath, bar_path),
        )
    except PlanRefused as refused:
        raise Failed("\n".join(fault.message for fault in refused.faults)) from None
    except (CommandRefused, ValueError) as error:
        raise Failed(str(error)) from None
    if plot is not None:
        _draw(plot, rows, outcome, side, plan)
    if as_json:
        print_json(outcome)
    else:
        _print(outcome)


def _plan(text: str, config: Path | None) -> Plan:
    """The plan that is meant."""
    body = read_plan(text)
    try:
        if isinstance(body, dict):
            return parse_plan(body)
        plans = load_config(config).plans
    except ConfigError as error:
        raise BadConfiguration(error) from None
    except PlanRefused as refused:
        lines = "\n".join(f"  {fault.message}" for fault in refused.faults)
        raise Failed(f"{text} is not a plan:\n{lines}") from None
    if body not in plans:
        raise click.BadParameter(f"{body} is neither a file nor a plan; there are: {', '.join(sorted(plans))}")
    return plans[body]


def _rows(path: Path) -> Rows:
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            return parse_rows(lines)
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be read ({error.strerror})", param_hint="DATA") from None
    except UnicodeDecodeError:
        raise Failed(f"{path} is not UTF-8 text; save it as CSV in UTF-8") from None
    except ValueError as error:
        raise Failed(f"{path}, {error}") from None


def _print(outcome: dict[str, Any]) -> None:
    entry = outcome["entry"]
    lines = [("entry", "", entry["at"], entry["price"], entry["quantity"])]
    lines += [
        (exit_["leg"], exit_["reason"], exit_["at"], exit_["price"], exit_["quantity"]) for exit_ in outcome["exits"]
    ]
    table(None, ("leg", "reason", "at", "price", "quantity"), lines)
    names = ("remaining", "realized_pnl", "mae_percent", "mfe_percent", "peak_price")
    table(None, ("", ""), ((name.replace("_", " "), outcome[name]) for name in names))


def _draw(target: Path, rows: Rows, outcome: dict[str, Any], side: str, plan: Plan) -> None:
    """Only this needs matplotlib, which not everybody installs."""
    try:
        from service.plot import draw_replay  # noqa: PLC0415
    except ImportError:
        raise Failed("--plot needs matplotlib: pip install 'exitkeeper[plot]'") from None
    try:
        draw_replay(target, rows, outcome, title=f"{plan.name or 'plan'}, {side}")
    except OSError as error:
        raise Failed(f"{target} cannot be written ({error.strerror})") from None
