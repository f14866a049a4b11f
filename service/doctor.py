"""What `exitkeeper doctor` looks at. Each check says what it found, and what to do about it."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx

from service.config import Config
from service.doctor_accounts import check_account
from service.doctor_redis import check_redis
from service.findings import Finding, Level
from service.hosts import is_loopback

_WARN_FREE_BYTES: Final = 1024**3
_FAIL_FREE_BYTES: Final = 100 * 1024**2
# Before this release was made; a machine without a battery starts in 1970.
_EARLIEST: Final = 1_735_689_600


def examine(config: Config) -> Iterator[Finding]:
    """Every check that needs a sound configuration."""
    source = str(config.path) if config.path else "no file: defaults and environment"
    yield Finding(Level.OK, "configuration", f"{source}, {len(config.accounts)} accounts, {len(config.plans)} plans")
    yield from check_data_dir(config.data_dir)
    yield from check_redis(config)
    yield check_clock()
    for account in config.accounts.values():
        yield from check_account(account)
    yield check_service(config)


def check_data_dir(path: Path) -> Iterator[Finding]:
    """Writable, by a real file, and with room."""
    existing = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"exitkeeper")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        reason = error.strerror or "cannot be written"
        yield Finding(
            Level.FAIL, "data directory", f"{path}: {reason}", "give its owner write access, or use --data-dir"
        )
        return
    made = "" if existing == path.absolute() else ", which the first start makes"
    yield Finding(Level.OK, "data directory", f"{path} can be written{made}")
    free = shutil.disk_usage(existing).free
    detail = f"{free / 1024**3:.1f} GiB free"
    if free < _WARN_FREE_BYTES:
        level = Level.FAIL if free < _FAIL_FREE_BYTES else Level.WARN
        yield Finding(
            level, "disk", detail, "make room: when the disk is full nothing can be saved, and nothing is opened"
        )
    else:
        yield Finding(Level.OK, "disk", detail)


def check_clock() -> Finding:
    """A wrong clock makes an exchange refuse requests."""
    now = time.time()
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if now < _EARLIEST:
        return Finding(Level.FAIL, "clock", shown, "set it, and run NTP")
    return Finding(Level.OK, "clock", shown)


def check_service(config: Config) -> Finding:
    """Whether it runs, and is ready."""
    url = service_url(config)
    try:
        response = httpx.get(f"{url}/readyz", timeout=3, trust_env=False)
        body = response.json()
        reasons = body["reasons"]
    except httpx.HTTPError:
        return Finding(Level.WARN, "service", f"does not answer at {url}", "start it with `exitkeeper run`")
    except (ValueError, KeyError, TypeError):
        remedy = "another program has its port: stop it, or set EXITKEEPER_HTTP__PORT"
        return Finding(Level.FAIL, "service", f"what answers at {url} is no exitkeeper", remedy)
    if reasons:
        remedy = "each reason has a line of its own below"
        return Finding(Level.FAIL, "service", f"runs at {url}, not ready: {'; '.join(map(str, reasons))}", remedy)
    return Finding(Level.OK, "service", f"ready at {url}")


def service_url(config: Config) -> str:
    """Where the service of this configuration answers on this machine."""
    http = config.http
    host = http.host if is_loopback(http.host) else "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{http.port}"


__all__ = [
    "Finding",
    "Level",
    "check_account",
    "check_clock",
    "check_data_dir",
    "check_redis",
    "check_service",
    "examine",
    "service_url",
]
