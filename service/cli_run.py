"""`exitkeeper run`: the service in the foreground, until a signal asks it to drain."""

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click
import structlog

from service import logs
from service.cli_client import BadConfiguration, Failed, foreseen
from service.config import Config
from service.config_load import load_config
from service.config_reader import ConfigError
from service.demo import demo_config, open_demo

if TYPE_CHECKING:
    from service.bootstrap import Application

_LOOK_SECONDS = 0.2


@click.command()
@click.option("--config", type=click.Path(path_type=Path), help="The configuration; exitkeeper.toml here if it exists.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where everything is kept; ./data unless configured.")
@click.option("--demo", is_flag=True, help="Open three positions on a fast simulated market, on a first start.")
def run(*, config: Path | None, data_dir: Path | None, demo: bool) -> None:
    """Run the service in the foreground."""
    # The parts that trade are loaded only here: every other command starts without them, and faster.
    from service.bootstrap import build  # noqa: PLC0415

    try:
        settings = load_config(config, data_dir=data_dir)
    except ConfigError as error:
        raise BadConfiguration(error) from None
    if demo:
        settings = demo_config(settings)
    logs.configure(secrets=settings.secrets())
    asked = _listen_for_signals()
    application = build(settings)
    try:
        application.start()
    except Exception as error:  # noqa: BLE001  Whatever it is, what has started must be stopped again.
        if not foreseen(error):
            structlog.get_logger().exception("service.start_failed")
        application.stop()
        raise Failed(logs.redaction.text(str(error) or type(error).__name__)) from None
    if application.http is not None:
        structlog.get_logger().info("http.listening", url=application.http.url)
    failed = _serve(application, settings, asked, demo=demo)
    application.stop()
    if failed:
        sys.exit(1)


def _listen_for_signals() -> threading.Event:
    """Set by SIGTERM and SIGINT; a second one does not wait for the drain."""
    asked = threading.Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if asked.is_set():
            # What was acknowledged is durable already, so going at once loses nothing but courtesy.
            logs.flush_waiting()
            os._exit(128 + number)
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    return asked


def _serve(application: "Application", settings: Config, asked: threading.Event, *, demo: bool) -> bool:
    """Wait until the end is asked for; true when the core actors have died instead."""
    waiting = demo
    while not asked.wait(_LOOK_SECONDS):
        if not application.healthy():
            structlog.get_logger().error(
                "service.failed", remedy="a core actor has ended; start the service again, nothing saved is lost"
            )
            return True
        if waiting and not application.directory.reasons_not_ready():
            waiting = False
            open_demo(settings, application.directory, application.supervisor, application.runtime)
    return False
