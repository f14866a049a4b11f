"""The configuration: what is read, what overrides what, and that every problem is named at once."""

from decimal import Decimal
from pathlib import Path

import pytest

from actors.domain.plans import RUNNER, parse_plan
from service.config import Config
from service.config_load import load_config
from service.config_reader import ConfigError


def read(tmp_path: Path, text: str, **environment: str) -> Config:
    """Load one file with exactly this environment."""
    path = tmp_path / "exitkeeper.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, environment=environment)


def problems(tmp_path: Path, text: str, **environment: str) -> str:
    """Every problem of one file, one a line."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, **environment)
    return "\n".join(caught.value.problems)


PAPER = '[accounts.paper]\nvenue = "paper"\n[accounts.paper.market]\n'
WALK = 'random_walk = { "BTC/USDT:USDT" = { price = "60000", volatility = "0.8" } }\n'


def test_without_configuration_there_is_a_paper_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Embedded Redis, a random walk, loopback only, the built-in plan."""
    monkeypatch.chdir(tmp_path)
    config = load_config(environment={})
    assert config.redis.url is None
    assert (config.http.host, config.http.port, config.http.token) == ("127.0.0.1", 8321, None)
    walk = config.accounts["paper"].market.random_walk["BTC/USDT:USDT"]
    assert (walk.price, walk.volatility) == (Decimal(60000), Decimal("0.8"))
    assert config.plans == {"runner": parse_plan(RUNNER, name="runner")}
    assert config.data_dir == Path("data")


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    """Nested names with two underscores; accounts are matched without regard to case."""
    config = read(
        tmp_path,
        'data_dir = "here"\n[http]\nport = 1\n' + PAPER + WALK,
        EXITKEEPER_HTTP__PORT="9000",
        EXITKEEPER_HTTP__TOKEN="t0ken-of-mine",  # noqa: S106
        EXITKEEPER_REDIS__URL="redis://:hush@example:6379/0",
        EXITKEEPER_ACCOUNTS__MAIN__VENUE="binanceusdm",
        EXITKEEPER_ACCOUNTS__MAIN__API_KEY="key-of-mine",
        EXITKEEPER_ACCOUNTS__MAIN__SECRET="secret-of-mine",  # noqa: S106
        EXITKEEPER_ACCOUNTS__PAPER__RESIDENT_STOP__STEP_PERCENT="0.2",
        EXITKEEPER_DATA_DIR="there",
    )
    assert config.http.port == 9000
    assert config.data_dir == Path("there")
    account = config.accounts["paper"]
    assert account.settings.resident_step_percent == Decimal("0.2")
    live = config.accounts["main"].live
    assert live is not None
    assert live.api_key == "key-of-mine"
    assert set(config.secrets()) == {"t0ken-of-mine", "key-of-mine", "secret-of-mine", ":hush", "hush"}
    for secret in config.secrets():
        assert secret not in repr(config)


def test_paths_in_a_file_are_relative_to_it(tmp_path: Path) -> None:
    """So a service started elsewhere finds the same data."""
    (tmp_path / "prices.csv").write_text("timestamp,price\n", encoding="utf-8")
    config = read(tmp_path, 'data_dir = "keep"\n' + PAPER + 'replay = "prices.csv"\nspeed = "max"\n')
    assert config.data_dir == tmp_path / "keep"
    market = config.accounts["paper"].market
    assert market.replay == {"BTC/USDT:USDT": tmp_path / "prices.csv"}
    assert market.speed is None


def test_the_command_line_wins(tmp_path: Path) -> None:
    """--data-dir over the environment over the file."""
    path = tmp_path / "a.toml"
    path.write_text('data_dir = "x"', encoding="utf-8")
    config = load_config(path, data_dir=Path("z"), environment={"EXITKEEPER_DATA_DIR": "y"})
    assert config.data_dir == Path("z")


def test_a_market_of_every_kind(tmp_path: Path) -> None:
    """Seeds, waypoints, instruments and speeds arrive exactly."""
    config = read(
        tmp_path,
        PAPER
        + 'speed = "60x"\nrandom_walk = { "BTC/USDT:USDT" = { price = "1.5", volatility = "0", seed = 7, '
        + 'waypoints = [["10", "1.6"], [20, "1.4"]] } }\n'
        + '[accounts.paper.instruments."BTC/USDT:USDT"]\ntick_size = "0.01"\n',
    )
    account = config.accounts["paper"]
    walk = account.market.random_walk["BTC/USDT:USDT"]
    assert account.market.speed == 60
    assert walk.seed == "7"
    assert walk.waypoints == ((Decimal(10), Decimal("1.6")), (Decimal(20), Decimal("1.4")))
    assert account.instruments["BTC/USDT:USDT"].tick_size == Decimal("0.01")


def test_a_named_plan_replaces_the_built_in_one_whole(tmp_path: Path) -> None:
    """Plans never merge."""
    config = read(tmp_path, '[plans.runner]\nstop = { percent = "0.5" }\n')
    assert config.plans["runner"].targets == ()
    assert config.plans["runner"].name == "runner"


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    """A person fixes the file once, not once for each mistake."""
    text = problems(
        tmp_path,
        'colour = "red"\n[http]\nhost = "0.0.0.0"\nprot = 8000\nport = 70000\n[redis]\nurl = "http://x"\n'
        '[accounts.main]\nvenue = "kraken"\nmax_deviation_percent = 2.5\n'
        '[accounts.paper]\nvenue = "paper"\n[plans.bad]\nstop = { percent = 0.5 }\n',
    )
    for expected in (
        "colour: is not a setting",
        "http.host: 0.0.0.0 can be reached from other machines: set EXITKEEPER_HTTP__TOKEN",
        "http.prot: is not a setting; did you mean 'port'?",
        "http.port: must be a whole number from 0 to 65535",
        "redis.url: must begin with one of redis://",
        "accounts.main.venue: 'kraken' is not a venue of this release, which has: paper, binanceusdm",
        'accounts.main.max_deviation_percent: 2.5 is a float, which is not exact; write it as a string such as "2.5"',
        "accounts.paper.market: is missing",
        "plans.bad.stop.percent: a float is not exact; write it as a string",
    ):
        assert expected in text
    assert len(text.splitlines()) == 9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PAPER + WALK + 'replay = "x.csv"\n', "exactly one of replay and random_walk"),
        (PAPER + 'replay = "missing.csv"\n', "is not a file"),
        (PAPER + 'random_walk = { "BTC/USDT:USDT" = { price = "1" } }\n', "volatility: is missing"),
        (PAPER + 'random_walk = { "btc" = { price = "1", volatility = "1" } }\n', "is not a symbol"),
        (PAPER + "random_walk = {}\n", "names no symbol"),
        (PAPER + WALK + 'speed = "fast"\n', "market.speed"),
        (PAPER + WALK + 'speed = "0x"\n', "market.speed"),
        ("[accounts]\npaper = 3\n", "accounts.paper: must be a table"),
        ('[accounts."a b"]\nvenue = "paper"\n', "letters, digits"),
        ("[accounts.paper]\n", "accounts.paper.venue: is missing"),
        ("[redis]\n", "redis.url: is missing"),
        ('[redis]\nurl = "redis+sentinel://h:1"\n', "redis.url: must end with the name of the service"),
        ('[redis]\nurl = "redis+cluster://h:1/1"\n', "redis.url: names a database"),
        ("a = \n", "is not TOML"),
        ('[accounts.paper]\nvenue = "paper"\nmax_deviation_percent = "nan"\n', "must be a plain decimal"),
        ('[accounts.paper]\nvenue = "paper"\nmax_deviation_percent = "1e9"\n', "must be a plain decimal"),
        ('[accounts.paper]\nvenue = "paper"\nmax_deviation_percent = 0\n', "must be above 0"),
        (
            PAPER + WALK + '[accounts.paper.instruments."ETH/USDT:USDT"]\ntick_size = "1"\n',
            "has no prices in this account's market",
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, expected: str) -> None:
    """Each mistake has a sentence of its own."""
    assert expected in problems(tmp_path, text)


def test_accounts_of_one_shard_cannot_differ_in_their_lease(tmp_path: Path) -> None:
    """A shard has one lease."""
    walk = WALK.strip()
    template = '[accounts.NAME]\nvenue = "paper"\nshard = "s"\nlease_ttl_seconds = SECONDS\nmarket = { ' + walk + " }\n"
    first, second = (template.replace("NAME", name).replace("SECONDS", seconds) for name, seconds in ("a5", "b6"))
    assert "same shard" in problems(tmp_path, first + second)


def test_a_listener_beyond_loopback_needs_a_token(tmp_path: Path) -> None:
    """With one it may; IPv6's loopback needs none."""
    assert read(tmp_path, '[http]\nhost = "0.0.0.0"\n', EXITKEEPER_HTTP__TOKEN="long-enough").http.token  # noqa: S106
    assert read(tmp_path, '[http]\nhost = "::1"\n').http.host == "::1"


def test_a_token_can_come_from_a_file(tmp_path: Path) -> None:
    """As container platforms mount secrets; twice is a contradiction."""
    (tmp_path / "token").write_text("from-a-file\n", encoding="utf-8")
    assert read(tmp_path, '[http]\ntoken_file = "token"\n').http.token == "from-a-file"  # noqa: S105
    assert "given twice" in problems(tmp_path, '[http]\ntoken_file = "token"\n', EXITKEEPER_HTTP__TOKEN="x")  # noqa: S106


def test_unknown_variables_are_problems_and_foreign_ones_are_not(tmp_path: Path) -> None:
    """Kubernetes sets variables of this prefix by itself; a misspelt setting must not be ignored."""
    assert "htpp: is not a setting; did you mean 'http'?" in problems(tmp_path, "", EXITKEEPER_HTPP__PORT="1")
    assert "empty part" in problems(tmp_path, "", EXITKEEPER_HTTP__="1")
    read(
        tmp_path,
        "",
        EXITKEEPER_URL="http://x",
        EXITKEEPER_PORT="tcp://10.0.0.1:80",
        EXITKEEPER_PORT_8321_TCP_ADDR="10.0.0.1",
        EXITKEEPER_SERVICE_HOST="10.0.0.1",
    )


def test_every_form_of_a_redis_url_is_taken_and_its_secrets_are_known(tmp_path: Path) -> None:
    """What they are is kept out of every log."""
    for url in (
        "unix:///a/redis.sock",
        "rediss://user:hush@example:6379/0",
        "redis+sentinel://user:hush@one:26379,two/keeper/1?sentinel_password=hush-too",
        "redis+cluster://user:hush@one:6379,two:6379",
    ):
        config = read(tmp_path, "", EXITKEEPER_REDIS__URL=url)
        assert config.redis.url == url
        assert "hush" not in repr(config)
        assert ("hush" in config.secrets()) == ("hush" in url)
        assert ("hush-too" in config.secrets()) == ("hush-too" in url)


def test_a_problem_never_repeats_a_secret(tmp_path: Path) -> None:
    """Problems are printed."""
    text = problems(
        tmp_path,
        "",
        EXITKEEPER_REDIS__URL="redis+sentinel://:hush@x/y?sentinel_word=hush",
        EXITKEEPER_HTTP__TOKEN="{hush",  # noqa: S106
        EXITKEEPER_X="hush",
    )
    assert "hush" not in text


def test_a_table_can_come_from_the_environment(tmp_path: Path) -> None:
    """As an inline TOML value, because symbols are no names of variables."""
    config = read(
        tmp_path,
        "",
        EXITKEEPER_ACCOUNTS__PAPER__MARKET__RANDOM_WALK='{ "X/USDT:USDT" = { price = "2", volatility = "0" } }',
    )
    assert set(config.accounts["paper"].market.random_walk) == {"X/USDT:USDT"}


def test_a_missing_file_says_what_to_do() -> None:
    """A path that was asked for must exist."""
    with pytest.raises(ConfigError, match="name a file that exists"):
        load_config(Path("/nowhere/exitkeeper.toml"), environment={})


def test_a_shared_ledger_and_a_control_file_are_relative_to_the_file(tmp_path: Path) -> None:
    """Neither need exist yet, but their folder must; without them a paper account has neither."""
    market = (
        read(tmp_path, PAPER + WALK + 'ledger = "exchange.sqlite"\ncontrol = "faults.json"\n').accounts["paper"].market
    )
    assert (market.ledger, market.control) == (tmp_path / "exchange.sqlite", tmp_path / "faults.json")
    market = read(tmp_path, PAPER + WALK).accounts["paper"].market
    assert (market.ledger, market.control) == (None, None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('ledger = "exchange.sqlite"\nspeed = "max"\n', "accounts.paper.market.ledger: a shared exchange"),
        ('ledger = "nowhere/exchange.sqlite"\n', "a folder that exists"),
        ('control = "."\n', "a folder that exists"),
        ("control = 7\n", "accounts.paper.market.control: must be a string"),
    ],
)
def test_a_ledger_or_control_file_that_cannot_work_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    """A lockstep of two processes above all."""
    assert problem in problems(tmp_path, PAPER + WALK + text)


def test_a_webhook_secret_must_be_worth_the_name(tmp_path: Path) -> None:
    """From the environment or a file, long enough, hidden in every text."""
    secret = "0123456789abcdef"  # noqa: S105
    config = read(tmp_path, "", EXITKEEPER_WEBHOOKS__SECRET=secret)
    assert config.webhooks.secret == secret
    assert secret in config.secrets()
    assert secret not in repr(config)
    assert read(tmp_path, "").webhooks.secret is None
    assert "webhooks.secret" in problems(tmp_path, "", EXITKEEPER_WEBHOOKS__SECRET="too-short")  # noqa: S106
    (tmp_path / "hook").write_text(secret + "\n", encoding="utf-8")
    assert read(tmp_path, '[webhooks]\nsecret_file = "hook"\n').webhooks.secret == secret
