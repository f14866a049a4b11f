"""What the doctor finds out about an account at a real exchange, each with a remedy."""

from actors.runtime.base import Clock
from actors.venues.ccxt.budget import Priority
from actors.venues.ccxt.client import Call, calling, exchange_class
from actors.venues.ccxt.dialect import Dialect, Finding
from actors.venues.ccxt.dialects import dialect_of
from actors.venues.ccxt.errors import NoAnswer, NotSent, RestError
from actors.venues.ccxt.loop import EXCHANGES
from actors.venues.ccxt.session import Session
from actors.venues.ccxt.settings import CcxtSettings

PROBE_SECONDS = 30.0
OFFSET_WARNING_MILLISECONDS = 500
KEY_REMEDY = "make a key at the exchange that may trade futures and nothing else, and allow this machine's address"


def probe_account(settings: CcxtSettings, clock: Clock) -> list[Finding]:
    """Connection, clock, credentials, position mode, permissions. Waits for the exchange: for command lines only."""
    dialect = dialect_of(settings.exchange)
    exchange_class(settings.exchange)

    async def work() -> list[Finding]:
        session = Session(settings, dialect, clock, lambda _message: None)
        try:
            with calling(Call(priority=Priority.LOOK, queue_seconds=settings.queue_timeout_seconds)):
                return await _probe(session, session.dialect)
        finally:
            await session.close()

    try:
        found: list[Finding] = EXCHANGES.run(work(), PROBE_SECONDS)
    except TimeoutError:
        return [Finding(level="fail", text=f"{settings.exchange} does not answer", remedy="check the network")]
    return found


async def _probe(session: Session, dialect: Dialect) -> list[Finding]:
    found: list[Finding] = []
    try:
        await session.measure()
        offset = round(session.wires.offset / 1000)
        far = abs(offset) > OFFSET_WARNING_MILLISECONDS
        found.append(
            Finding(
                level="warn" if far else "ok",
                text=f"this machine's clock and the exchange's are {abs(offset)} ms apart",
                remedy="let this machine set its clock by NTP" if far else "",
            )
        )
        await dialect.instruments()
        obstacle = await dialect.readiness()
        if obstacle is not None:
            remedy = KEY_REMEDY if obstacle.code == "auth" else obstacle.detail
            return [*found, Finding(level="fail", text=f"{obstacle.code}: {obstacle.detail}", remedy=remedy)]
        found.append(Finding(level="ok", text="the credentials are valid, and the account is in one-way mode"))
        found.extend(await dialect.probe())
    except RestError as error:
        code = dialect.verdict(error).code
        remedy = KEY_REMEDY if code == "auth" else "check the account at the exchange"
        found.append(Finding(level="fail", text=f"the exchange refused: {error.message}", remedy=remedy))
    except NotSent as error:
        found.append(Finding(level="fail", text=error.message, remedy="check the network and the endpoint"))
    except NoAnswer as error:
        text = f"no answer that can be read: {session.wires.scrubbed(error)}"
        found.append(Finding(level="fail", text=text, remedy="check the network and the endpoint"))
    return found
