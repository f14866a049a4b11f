"""`exitkeeper exchange`: the paper exchange as a server of its own, in the foreground."""

from pathlib import Path
from typing import Any

import click
import structlog

from service import logs
from service.cli_client import Failed, foreseen


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8325, show_default=True, help="0: any free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="A loopback address; no other is listened on.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Where its journal and its keys are kept.",
)
@click.option(
    "--walk", multiple=True, metavar="SYMBOL=PRICE[:VOLATILITY]", help="A random walk; BTC and ETH unless told."
)
@click.option("--replay", multiple=True, metavar="SYMBOL=FILE", help="Prices of a CSV file, as `replay` reads them.")
@click.option("--speed", default="1x", show_default=True, help="How many seconds of the market pass in one.")
@click.option("--seed", help="Of the random walks.")
@click.option("--spread", metavar="PERCENT", help="The whole spread; 0.01 unless told.")
@click.option("--manual", is_flag=True, help="One price at the start; further ones only by POST /paper/price.")
@click.option("--balance", metavar="USDT", help="What each account begins with; 1000000 unless told.")
@click.option("--leverage", type=click.IntRange(1, 125), help="Unless a client sets another; 20 unless told.")
@click.option(
    "--max-stops", "maximum_stops", type=click.IntRange(1), help="Conditional orders of an account and symbol."
)
@click.option("--weight-per-minute", type=click.IntRange(1), help="Request weight before 429; 2400 unless told.")
@click.option("--orders-per-minute", type=click.IntRange(1), help="Orders before 429; 1200 unless told.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    envvar="EXITKEEPER_EXCHANGE_KEYS",
    metavar="ACCOUNT:KEY:SECRET",
    help="An account; also EXITKEEPER_EXCHANGE_KEYS, separated by spaces. Without any, one is made and kept in a file.",
)
def exchange(*, data_dir: Path, **words: Any) -> None:
    """Play an exchange on this machine, in Binance's dialect, for this service or any other program."""
    from service.bootstrap import open_exchange  # noqa: PLC0415  Everything else starts without what it loads.

    logs.configure(secrets=[part for word in words["keys"] for part in word.split(":")[1:]])
    try:
        server, files = open_exchange(data_dir, words)
        log = structlog.get_logger()
        log.info("exchange.listening", endpoint=server.endpoint, **files)
        server.run()
        log.info("exchange.stopped")
    except Exception as error:
        if not foreseen(error):
            raise
        raise Failed(logs.redaction.text(str(error))) from None
