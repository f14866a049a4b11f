"""`exitkeeper doctor`: what stands between this machine and a service that keeps its promises, each with a remedy."""

from pathlib import Path

import click
from rich.text import Text

from service.cli_client import Failed
from service.cli_tables import table
from service.config_load import load_config
from service.config_reader import ConfigError
from service.doctor import Finding, Level, examine
from service.doctor_situations import situations

_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


@click.command()
@click.option("--config", type=click.Path(path_type=Path), help="The service's configuration file.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where the service keeps its data.")
def doctor(*, config: Path | None, data_dir: Path | None) -> None:
    """Check configuration, disk, Redis, clock, accounts, leases and service, and what failed in the last day."""
    try:
        settings = load_config(config, data_dir=data_dir)
        findings = [*examine(settings), *situations(settings)]
    except ConfigError as error:
        remedy = "correct exitkeeper.toml or the EXITKEEPER_* variable that is named"
        findings = [Finding(Level.FAIL, "configuration", problem, remedy) for problem in error.problems]
    rows = [
        (Text(finding.level.value, _STYLES[finding.level]), finding.name, finding.detail, finding.remedy)
        for finding in findings
    ]
    table(None, ("", "what", "found", "remedy"), rows)
    failed = sum(finding.level is Level.FAIL for finding in findings)
    if failed:
        raise Failed(f"{failed} of {len(findings)} checks failed")
