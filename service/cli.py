"""`exitkeeper`: the command. Exit status 0 done, 1 refused or failed, 2 wrong usage."""

import click

from service.cli_doctor import doctor
from service.cli_exchange import exchange
from service.cli_failures import failures
from service.cli_positions import adopt, close, events, open_command, plan, positions, show
from service.cli_replay import replay
from service.cli_run import run
from service.cli_snapshots import snapshots


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="exitkeeper")
def main() -> None:
    """Keeps the exits of leveraged positions, through every crash and restart."""


for command in (
    *(run, open_command, adopt, positions, show, events, close, plan),
    *(replay, snapshots, failures, doctor, exchange),
):
    main.add_command(command)


if __name__ == "__main__":
    main()
