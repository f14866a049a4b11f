"""From tables to frozen values: the top of the configuration, HTTP, Redis and the named plans."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from actors.domain.errors import PlanRefused
from actors.domain.model import Plan
from actors.domain.plans import RUNNER, parse_plan
from persistence.address import parse_address
from service.config import DEFAULT_PORT, AccountConfig, Config, HttpConfig, RedisConfig, WebhooksConfig
from service.config_accounts import parse_account
from service.config_reader import Section
from service.hosts import is_loopback

SHORTEST_SECRET: Final = 16
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def parse_config(values: Mapping[str, Any], problems: list[str], path: Path | None) -> Config:
    """Read everything, adding to `problems`; what is returned is only to be used when there are none."""
    top = Section(values, "", problems)
    data_dir = Path(top.text("data_dir", "data") or "data")
    config = Config(
        data_dir=data_dir,
        redis=_redis(top.table("redis")),
        http=_http(top.table("http")),
        accounts=_accounts(top.table("accounts")),
        plans=_plans(top.table("plans")),
        webhooks=_webhooks(top.table("webhooks")),
        path=path,
    )
    top.finish()
    return config


def _redis(section: Section | None) -> RedisConfig:
    if section is None:
        return RedisConfig()
    url = section.text("url")
    section.finish()
    # The URL itself is never repeated in a problem: it may hold a password.
    if url is None:
        if "url" not in section.values:
            section.problem("url", "is missing; give it, or leave [redis] out for the embedded server")
    else:
        try:
            parse_address(url)
        except ValueError as error:
            section.problem("url", str(error))
    return RedisConfig(url=url)


def _http(section: Section | None) -> HttpConfig:
    if section is None:
        return HttpConfig()
    host = section.text("host", "127.0.0.1") or "127.0.0.1"
    port = section.integer("port", least=0, most=65535)
    token = section.secret("token")
    section.finish()
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        section.problem("token", "must be printable ASCII without spaces, because it travels in a header")
    if token is None and not is_loopback(host) and "token" not in section.values:
        section.problem(
            "host", f"{host} can be reached from other machines: set EXITKEEPER_HTTP__TOKEN, or listen on 127.0.0.1"
        )
    return HttpConfig(host=host, port=DEFAULT_PORT if port is None else port, token=token)


def _webhooks(section: Section | None) -> WebhooksConfig:
    if section is None:
        return WebhooksConfig()
    secret = section.secret("secret")
    section.finish()
    if secret is not None and (len(secret) < SHORTEST_SECRET or not secret.isprintable()):
        # It is all that stands between the internet and an order, and travels in texts that people paste.
        section.problem("secret", f"must be at least {SHORTEST_SECRET} printable characters; make up a random one")
    return WebhooksConfig(secret=secret)


def _accounts(section: Section | None) -> Mapping[str, AccountConfig]:
    accounts: dict[str, AccountConfig] = {}
    if section is None:
        return accounts
    for name, table in section.tables():
        if not _NAME.fullmatch(name):
            section.problem(name, "an account's name is 1 to 64 letters, digits, - and _")
            continue
        account = parse_account(name, table)
        if account is not None:
            accounts[name] = account
    _check_shards(section, accounts)
    return accounts


def _check_shards(section: Section, accounts: Mapping[str, AccountConfig]) -> None:
    """A shard has one lease, so its accounts cannot ask for two durations."""
    first: dict[str, AccountConfig] = {}
    for name, account in accounts.items():
        other = first.setdefault(account.settings.shard, account)
        if other.lease_ttl_seconds != account.lease_ttl_seconds:
            section.problem(
                f"{name}.lease_ttl_seconds", f"differs from that of {other.name}, which is in the same shard; give one"
            )


def _plans(section: Section | None) -> Mapping[str, Plan]:
    """The named plans. One that is configured replaces the built-in one of its name whole."""
    plans = {"runner": parse_plan(RUNNER, name="runner")}
    if section is None:
        return plans
    for name, table in section.tables():
        if not _NAME.fullmatch(name):
            section.problem(name, "a plan's name is 1 to 64 letters, digits, - and _")
            continue
        try:
            plans[name] = parse_plan(table.values, name=name)
        except PlanRefused as refused:
            section.problems.extend(
                f"{table.where(fault.field) if fault.field else table.path}: {_sentence(fault.field, fault.message)}"
                for fault in refused.faults
            )
    return plans


def _sentence(field: str, message: str) -> str:
    """A fault's message without the field it begins with, because the problem names that already."""
    return message.removeprefix(f"{field}: ").replace("send it as", "write it as")
