"""Accounts at real exchanges: what must be given, what must not, and what never shows."""

from pathlib import Path

import pytest

from service.config import Config
from service.config_load import load_config
from service.config_reader import ConfigError


def read(folder: Path, text: str, **environment: str) -> Config:
    """The configuration of this text and environment."""
    file = folder / "exitkeeper.toml"
    file.write_text(text, encoding="utf-8")
    return load_config(file, environment=environment)


def problems(folder: Path, text: str, **environment: str) -> str:
    """What is wrong with it."""
    with pytest.raises(ConfigError) as caught:
        read(folder, text, **environment)
    return "\n".join(caught.value.problems)


BINANCE = '[accounts.main]\nvenue = "binanceusdm"\n'
KEYS = 'api_key = "k"\nsecret = "s"\n'


@pytest.mark.parametrize(
    ("venue", "needed"),
    [
        ("binanceusdm", ("api_key", "secret")),
        ("bybit", ("api_key", "secret")),
        ("okx", ("api_key", "secret", "password")),
        ("hyperliquid", ("wallet_address", "private_key")),
    ],
)
def test_every_exchange_says_which_keys_it_needs(tmp_path: Path, venue: str, needed: tuple[str, ...]) -> None:
    """Each by the variable that sets it."""
    text = f'[accounts.main]\nvenue = "{venue}"\n'
    said = problems(tmp_path, text)
    for key in needed:
        assert f"EXITKEEPER_ACCOUNTS__MAIN__{key.upper()}" in said
    complete = read(tmp_path, text + "".join(f'{key} = "value-of-{key}"\n' for key in needed))
    live = complete.accounts["main"].live
    assert live is not None
    assert all(getattr(live, key) == f"value-of-{key}" for key in needed)


def test_keys_of_a_live_account_never_show(tmp_path: Path) -> None:
    """In no repr, and all of them are known to the log."""
    text = '[accounts.main]\nvenue = "okx"\napi_key = "kkk"\nsecret = "sss"\npassword = "ppp"\n'
    config = read(tmp_path, text)
    assert {"kkk", "sss", "ppp"} <= set(config.secrets())
    assert not any(secret in repr(config) for secret in ("kkk", "sss", "ppp"))


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    """As container platforms mount them."""
    (tmp_path / "key").write_text("from-a-file\n", encoding="utf-8")
    config = read(tmp_path, BINANCE + 'api_key_file = "key"\nsecret = "s"\n')
    live = config.accounts["main"].live
    assert live is not None
    assert live.api_key == "from-a-file"


def test_a_key_of_another_exchange_is_a_problem(tmp_path: Path) -> None:
    """A setting that is silently ignored is one that somebody relies on."""
    assert "private_key: is not used by binanceusdm" in problems(tmp_path, BINANCE + KEYS + 'private_key = "p"\n')


@pytest.mark.parametrize("key", ["market = { random_walk = {} }", "instruments = {}", 'taker_fee_percent = "0.05"'])
def test_paper_settings_are_refused_at_a_real_exchange(tmp_path: Path, key: str) -> None:
    """The exchange itself says what it allows and charges."""
    said = problems(tmp_path, BINANCE + KEYS + key + "\n")
    assert said.count("\n") == 0
    assert "is for paper accounts" in said


@pytest.mark.parametrize(
    "endpoint",
    ["http://10.0.0.5:80", "http://127.0.0.1", "ftp://127.0.0.1:1", "nonsense", "http://127.0.0.1:1/path?x=1"],
)
def test_keys_never_cross_a_network_in_the_clear(tmp_path: Path, endpoint: str) -> None:
    """http only on this machine."""
    assert "accounts.main.endpoint" in problems(tmp_path, BINANCE + KEYS + f'endpoint = "{endpoint}"\n')


def test_an_endpoint_on_this_machine(tmp_path: Path) -> None:
    """As `exitkeeper exchange` prints it."""
    config = read(tmp_path, BINANCE + KEYS + 'endpoint = "http://127.0.0.1:8400/"\n')
    live = config.accounts["main"].live
    assert live is not None
    assert live.endpoint == "http://127.0.0.1:8400"


def test_demo_and_endpoint_exclude_each_other(tmp_path: Path) -> None:
    """Both say where orders go."""
    text = BINANCE + KEYS + 'demo = true\nendpoint = "http://127.0.0.1:8400"\n'
    assert "accounts.main.demo" in problems(tmp_path, text)


def test_demo_from_the_environment(tmp_path: Path) -> None:
    """Where there are only words."""
    config = read(tmp_path, BINANCE + KEYS, EXITKEEPER_ACCOUNTS__MAIN__DEMO="true")
    live = config.accounts["main"].live
    assert live is not None
    assert live.demo is True
    assert "accounts.main.demo: must be true or false" in problems(tmp_path, BINANCE + KEYS + 'demo = "maybe"\n')
