"""How the command line reaches a running service, and how it says what went wrong."""

import json
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import click
import httpx

from service.config_load import load_config
from service.config_reader import ConfigError

_TIMEOUT_SECONDS: Final = 15.0
F = TypeVar("F", bound=Callable[..., Any])


class Failed(click.ClickException):
    """The command was refused or has failed: exit status 1."""

    exit_code = 1


class BadConfiguration(click.ClickException):
    """The configuration cannot be used: exit status 2, with every problem."""

    exit_code = 2

    def __init__(self, error: ConfigError) -> None:
        lines = "\n".join(f"  {problem}" for problem in error.problems)
        super().__init__(f"the configuration cannot be used:\n{lines}")


def client_options(command: F) -> F:
    """The options of every command that asks a running service."""
    command = click.option("--config", type=click.Path(path_type=Path), help="The service's configuration file.")(
        command
    )
    return click.option("--url", envvar="EXITKEEPER_URL", help="Where the service is; also EXITKEEPER_URL.")(command)


class Client:
    """Asks the service. Every failure is a Failed whose message says what to do next."""

    def __init__(self, url: str, token: str | None) -> None:
        if not _is_url(url):
            raise click.UsageError(f"{url!r} is not a URL such as http://127.0.0.1:8321")
        if token and not (token.isascii() and token.isprintable()):
            raise click.UsageError("the token in the environment is not printable ASCII; correct it")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # A proxy from the environment has no business between this machine and itself.
        self._http = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_SECONDS, trust_env=False)
        self.url = url

    @classmethod
    def of(cls, url: str | None, config: Path | None) -> "Client":
        """By --url and the environment, otherwise where the configuration lets the service listen."""
        token = os.environ.get("EXITKEEPER_TOKEN") or os.environ.get("EXITKEEPER_HTTP__TOKEN")
        if url is not None:
            return cls(url, token)
        try:
            http = load_config(config).http
        except ConfigError as error:
            raise BadConfiguration(error) from None
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(http.host, http.host)  # noqa: S104  Compared, not bound.
        return cls(f"http://{f'[{host}]' if ':' in host else host}:{http.port}", token or http.token)

    def get(self, path: str, **parameters: Any) -> dict[str, Any]:
        """Read something."""
        return self.send("GET", path, params={key: value for key, value in parameters.items() if value is not None})

    def send(self, method: str, path: str, *, repeat: str = "", **options: Any) -> dict[str, Any]:
        """Ask for something. `repeat` says how to ask again when it is not known what became of it."""
        unknown = f"\nIt is not known whether it was done. {repeat}" if repeat else ""
        try:
            response = self._http.request(method, path, **options)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise Failed(
                f"no service answers at {self.url}: start it with `exitkeeper run`, or name it with --url"
            ) from None
        except httpx.HTTPError as error:
            raise Failed(f"the service at {self.url} did not answer ({type(error).__name__}).{unknown}") from None
        return _read(response, unknown)


def _fault(fault: Mapping[str, Any]) -> str:
    """One fault; a plan's already begin with their field."""
    field, message = fault.get("field", ""), fault.get("message", "")
    return message if not field or message.startswith(field) else f"{field}: {message}"


def foreseen(error: Exception) -> bool:
    """Whether an error's message says by itself what to do: our own do, by the rules of this house."""
    return type(error).__module__.partition(".")[0] in ("actors", "persistence", "service")


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        httpx.URL(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except (ValueError, httpx.InvalidURL):
        return False


def _read(response: httpx.Response, unknown: str) -> dict[str, Any]:
    """The body of an answer; Failed with every fault when it is an error."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Failed(f"what answers at {response.url.host}:{response.url.port} is no exitkeeper; correct --url")
    if response.is_success:
        return body
    error = body.get("error") or {}
    lines = [f"{error.get('message', response.status_code)} ({error.get('code', response.status_code)})"]
    lines += [f"  {_fault(fault)}" for fault in body.get("faults", ())]
    if response.status_code == 504:
        lines.append(unknown.strip())
    raise Failed("\n".join(line for line in lines if line))


def read_plan(text: str) -> str | dict[str, Any]:
    """`--plan`: the name of a plan, or the plan in a JSON or TOML file. Raises BadParameter."""
    path = Path(text)
    if not (path.suffix in (".json", ".toml") or "/" in text or path.is_file()):
        return text
    return read_plan_file(path)


def read_plan_file(path: Path) -> dict[str, Any]:
    """The plan in a file, as it stands there: whoever parses it refuses its floats. Raises BadParameter."""
    try:
        content = path.read_text(encoding="utf-8")
        value = tomllib.loads(content) if path.suffix == ".toml" else json.loads(content)
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        kind = "TOML" if path.suffix == ".toml" else "JSON"
        raise click.BadParameter(f"{path} is not {kind}: {error}") from None
    if not isinstance(value, Mapping):
        raise click.BadParameter(f"{path} does not hold a plan, which is an object")
    return dict(value)
