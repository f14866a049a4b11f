"""The house rules, enforced: import arrows, sizes, the purity of the domain, docstrings, and an honest lock file.

Each rule is a function from a tree to the problems in it. The repository must have none; and every rule is shown a
planted violation, because a rule that never fires protects nothing.
"""

import ast
import configparser
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("actors", "persistence", "service", "scripts", "tests")
PRODUCT = ("actors", "persistence", "service", "scripts")
MODULE_LINES = 400
FUNCTION_LINES = 70

MAY_IMPORT = {
    "actors.domain": {"actors.domain"},
    "persistence": {"persistence"},
    "actors": {"actors", "actors.domain", "persistence"},
    "service": {"service", "actors", "actors.domain", "persistence"},
    "scripts": {"scripts", "service", "actors", "actors.domain", "persistence", "tests"},
}

# Modules that read a clock, draw lots, wait, or touch the world outside. What the domain may not do by itself at all,
# actors may do only through their runtime, venue and store: else no simulator could hold them.
WORLDLY = {"asyncio", "concurrent", "multiprocessing", "random", "sched", "secrets", "select", "selectors"}
WORLDLY |= {"signal", "socket", "ssl", "subprocess", "threading", "time", "uuid"}
IMPURE = WORLDLY | {"contextvars", "glob", "http", "io", "locale", "logging", "mmap", "os", "pathlib", "platform"}
IMPURE |= {"queue", "shutil", "sqlite3", "sys", "tempfile", "urllib", "warnings"}
IMPURE_CALLS = {"breakpoint", "eval", "exec", "input", "open", "print"}
CLOCK_CALLS = {"now", "today", "utcnow"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One source file of ours."""

    path: Path
    name: str
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax."""
        return ast.parse(self.source, str(self.path))

    @property
    def is_package(self) -> bool:
        """Whether relative imports start from itself."""
        return self.path.name == "__init__.py"

    def imports(self) -> Iterator[tuple[int, str]]:
        """Every module it names, with the line; `from a import b` names `a` and, should it be a module, `a.b`."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self._resolved(node)
                yield node.lineno, base
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
            elif isinstance(node, ast.Call) and called(node).endswith(("import_module", "__import__")):
                names = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
                yield from ((node.lineno, name) for name in names if isinstance(name, str))

    def _resolved(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parents = self.name.split(".")
        kept = parents[: len(parents) - node.level + self.is_package]
        return ".".join([*kept, node.module] if node.module else kept)


def called(node: ast.Call) -> str:
    """The dotted name of what is called, where it has one."""
    try:
        return ast.unparse(node.func)
    except RecursionError:
        return ""


def modules_of(root: Path, folders: tuple[str, ...]) -> list[Module]:
    """Every source file in the folders; scripts have no suffix but a first line that names Python."""
    found = []
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if not path.is_file() or "__pycache__" in path.parts:
                continue
            if path.suffix != ".py" and not (folder == "scripts" and re.match(rb"#!.*python", path.read_bytes())):
                continue
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if path.name == "__init__.py" else parts)
            found.append(Module(path, name, path.read_text(encoding="utf-8")))
    return found


def layer_of(name: str) -> str:
    """Which layer a module belongs to; empty for other people's."""
    if name == "actors.domain" or name.startswith("actors.domain."):
        return "actors.domain"
    first = name.split(".", maxsplit=1)[0]
    return first if first in OURS else ""


# -- the rules ---------------------------------------------------------------------------------------------------------


def wrong_arrows(root: Path) -> Iterator[str]:
    """Imports point one way: service, actors, actors.domain; actors, persistence."""
    for module in modules_of(root, PRODUCT):
        layer = layer_of(module.name)
        for line, name in module.imports():
            imported = layer_of(name)
            if imported and imported not in MAY_IMPORT[layer]:
                yield f"{module.path}:{line}: {layer} imports {name}"


def concrete_outside_bootstrap(root: Path) -> Iterator[str]:
    """Only service/bootstrap.py names the Redis store or a concrete venue. Their own modules know each other.

    `exchange_audit` reads the journal of an exchange and is no venue: whoever checks one may name it.
    """
    for module in modules_of(root, PRODUCT):
        if module.name == "service.bootstrap":
            continue
        for line, name in module.imports():
            if name.startswith("persistence.redis_") and not module.name.startswith("persistence.redis_"):
                yield f"{module.path}:{line}: names the Redis store, {name}"
            venue = re.match(r"actors\.venues\.(?!base\b|exchange_audit\b)\w+", name)
            if venue and is_module(root, venue[0]) and not module.name.startswith("actors.venues."):
                yield f"{module.path}:{line}: names a concrete venue, {name}"


def is_module(root: Path, name: str) -> bool:
    """Whether a dotted name is a file or folder of ours, rather than something inside one."""
    path = root.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


def oversized(root: Path) -> Iterator[str]:
    """When a module or function wants to be bigger, it usually holds two ideas."""
    for module in modules_of(root, PRODUCT):
        lines = len(module.source.splitlines())
        if lines > MODULE_LINES:
            yield f"{module.path}: {lines} lines, at most {MODULE_LINES}"
        for node in ast.walk(module.tree):
            if isinstance(node, Function):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES:
                    yield f"{module.path}:{node.lineno}: {node.name} has {length} lines, at most {FUNCTION_LINES}"


def impure_domain(root: Path) -> Iterator[str]:
    """The domain: standard library only; no clock, I/O, randomness, threads."""
    for module in modules_of(root, ("actors/domain",)):
        for line, name in module.imports():
            first = name.split(".", maxsplit=1)[0]
            if first in IMPURE:
                yield f"{module.path}:{line}: imports {first}"
            elif first not in sys.stdlib_module_names and first not in OURS:
                yield f"{module.path}:{line}: imports {first}, which is not in the standard library"
        yield from clock_reads(module)
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and called(node) in IMPURE_CALLS:
                yield f"{module.path}:{node.lineno}: calls {called(node)}"


def worldly_actors(root: Path) -> Iterator[str]:
    """No actor sleeps, starts threads, draws lots or reads a clock. Runtimes and venues are where that happens."""
    for module in modules_of(root, ("actors",)):
        if module.name.startswith(("actors.runtime", "actors.venues", "actors.domain")):
            continue
        for line, name in module.imports():
            first = name.split(".", maxsplit=1)[0]
            if first in WORLDLY:
                yield f"{module.path}:{line}: imports {first}"
        yield from clock_reads(module)


def clock_reads(module: Module) -> Iterator[str]:
    """Calls of `datetime.now` and its kin."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCK_CALLS:
            owner = ast.unparse(node.func.value).rsplit(".", maxsplit=1)[-1]
            if owner in {"datetime", "date"}:
                yield f"{module.path}:{node.lineno}: reads the clock, {called(node)}"


def undocumented(root: Path) -> Iterator[str]:
    """Docstrings on everything public: modules with anything in them, classes, functions, methods."""
    for module in modules_of(root, PRODUCT):
        if module.tree.body and not ast.get_docstring(module.tree):
            yield f"{module.path}: the module has no docstring"
        for node in public_definitions(module.tree):
            if not ast.get_docstring(node):
                yield f"{module.path}:{node.lineno}: {node.name} has no docstring"


def public_definitions(node: ast.Module | ast.ClassDef) -> Iterator[ast.ClassDef | Function]:
    """Public classes and functions, and the public methods of public classes."""
    for child in node.body:
        if isinstance(child, ast.ClassDef | Function) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from public_definitions(child)


def unlocked(root: Path) -> Iterator[str]:
    """The lock file names every dependency exactly, with hashes, and no place to get it from."""
    metadata = configparser.ConfigParser()
    metadata.read(root / "setup.cfg", encoding="utf-8")
    wanted = [metadata["options"]["install_requires"], *metadata["options.extras_require"].values()]
    lock = (root / "requirements.lock").read_text(encoding="utf-8")
    locked = set(re.findall(r"^([\w.-]+)==[^ ]+ \\\n    --hash=sha256:", lock, re.MULTILINE))
    # setuptools builds the package without isolation; async-timeout is needed on Python 3.11.2 and only seen there.
    names = {"setuptools", "async-timeout"} | {name for text in wanted for name in re.findall(r"^[\w.-]+", text, re.M)}
    yield from (f"requirements.lock: {name} is missing" for name in sorted(names - locked))
    yield from (f"requirements.lock: {line}" for line in lock.splitlines() if re.match(r"\s*-(?!-hash)|.*://", line))


RULES: tuple[Callable[[Path], Iterator[str]], ...] = (
    wrong_arrows,
    concrete_outside_bootstrap,
    oversized,
    impure_domain,
    worldly_actors,
    undocumented,
    unlocked,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_is_tidy(rule: Callable[[Path], Iterator[str]]) -> None:
    """The repository breaks no rule."""
    problems = [problem.replace(f"{ROOT}/", "") for problem in rule(ROOT)]
    assert not problems, "\n".join(problems)


# -- every rule sees what it is for ------------------------------------------------------------------------------------

DOC = '"""A module."""\n'
LONG_FUNCTION = DOC + 'def long() -> None:\n    """Long."""\n' + "    pass\n" * 69

PLANTED = [
    (wrong_arrows, "actors/domain/a.py", "import actors.settings", "actors.domain imports actors.settings"),
    (wrong_arrows, "actors/domain/a.py", "from .. import messages", "actors.domain imports actors"),
    (wrong_arrows, "actors/domain/a.py", "from ..runtime import base", "actors.domain imports actors.runtime"),
    (wrong_arrows, "actors/domain/a.py", "from persistence import store", "actors.domain imports persistence"),
    (
        wrong_arrows,
        "persistence/a.py",
        "from actors.domain.model import Plan",
        "persistence imports actors.domain.model",
    ),
    (wrong_arrows, "persistence/a.py", "def f():\n    import service", "persistence imports service"),
    (wrong_arrows, "actors/a.py", "from service.config import Config", "actors imports service.config"),
    (wrong_arrows, "actors/a.py", "import importlib\nimportlib.import_module('service')", "actors imports service"),
    (wrong_arrows, "service/a.py", "from tests.helpers import x", "service imports tests.helpers"),
    (concrete_outside_bootstrap, "service/cli.py", "from persistence.redis_store import R", "names the Redis store"),
    (concrete_outside_bootstrap, "service/cli.py", "from persistence import redis_store", "names the Redis store"),
    (concrete_outside_bootstrap, "persistence/actor.py", "import persistence.redis_store", "names the Redis store"),
    (concrete_outside_bootstrap, "actors/a.py", "from actors.venues.paper import P", "names a concrete venue"),
    (concrete_outside_bootstrap, "service/a.py", "from actors.venues import paper", "names a concrete venue"),
    (concrete_outside_bootstrap, "service/a.py", "import actors.venues.ccxt.bybit", "names a concrete venue"),
    (oversized, "service/a.py", DOC + "\n" * 400, "401 lines, at most 400"),
    (oversized, "actors/a.py", LONG_FUNCTION, "long has 71 lines, at most 70"),
    (oversized, "scripts/bench", "#!/usr/bin/env python3\n" + "\n" * 400, "401 lines, at most 400"),
    *(
        (impure_domain, "actors/domain/a.py", f"import {name}", f"imports {name}")
        for name in ("time", "random", "threading", "os", "io", "sys", "logging", "socket", "pykka")
    ),
    (impure_domain, "actors/domain/a.py", "from os.path import join", "imports os"),
    (impure_domain, "actors/domain/a.py", "from datetime import datetime\ndatetime.now()", "reads the clock"),
    (impure_domain, "actors/domain/a.py", "import datetime as d\nd.datetime.utcnow()", "reads the clock"),
    (impure_domain, "actors/domain/a.py", "open('x')", "calls open"),
    (worldly_actors, "actors/a.py", "import time", "imports time"),
    (worldly_actors, "actors/a.py", "from threading import Thread", "imports threading"),
    (worldly_actors, "actors/a.py", "import datetime\ndatetime.date.today()", "reads the clock"),
    (undocumented, "service/a.py", "x = 1", "the module has no docstring"),
    (undocumented, "service/a.py", DOC + "def f() -> None: ...", "f has no docstring"),
    (undocumented, "service/a.py", DOC + 'class C:\n    """C."""\n    def m(self) -> None: ...', "m has no docstring"),
    (unlocked, "requirements.lock", "", "pykka is missing"),
    (unlocked, "requirements.lock", "pykka==4.5.0\n", "pykka is missing"),
    (unlocked, "requirements.lock", "--index-url x\n", "--index-url x"),
    (unlocked, "requirements.lock", "a @ https://b/c.whl\n", "https://b/c.whl"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree in which everything is right, also what looks almost wrong."""
    right = {
        "setup.cfg": "[options]\ninstall_requires =\n    pykka>=4\n[options.extras_require]\ndev =\n    pytest\n",
        "requirements.lock": "".join(
            f"{name}==1 \\\n    --hash=sha256:0\n" for name in ("pykka", "pytest", "setuptools", "async-timeout")
        ),
        "actors/__init__.py": "",
        "actors/domain/model.py": DOC + "from datetime import UTC, datetime\nfrom actors.domain import errors\n",
        "actors/domain/errors.py": DOC + "from decimal import Decimal\nfrom .model import datetime\n",
        "actors/position.py": DOC + "from actors.domain.model import datetime\nfrom persistence import store\n",
        "actors/market.py": DOC + "def f(clock: object) -> None:\n    '''F.'''\n    clock.now()\n",
        "actors/runtime/threads.py": DOC + "import threading\nimport time\n",
        "actors/venues/base.py": DOC,
        "actors/venues/paper.py": DOC + "from actors.venues.base import Venue\n",
        "actors/venues/ccxt/bybit.py": DOC + "from actors.venues.paper import Paper\n",
        "actors/gateway.py": DOC + "from actors.venues import base\nfrom actors.venues.base import Venue\n",
        "persistence/store.py": DOC + "import redis\n",
        "persistence/redis_store.py": DOC + "from persistence.redis_commands import x\n",
        "service/bootstrap.py": DOC
        + "from persistence.redis_store import R\nfrom actors.venues.paper import P\n"
        + 'def f() -> None:\n    """F."""\n'
        + "    pass\n" * 68,
        "service/cli.py": DOC + "from service.bootstrap import run\nclass _Private:\n    def m(self) -> None: ...\n",
        "scripts/run": "#!/usr/bin/env bash\n" + "\n" * 500,
        "tests/unit/test_a.py": "from service import cli\n" + "\n" * 500,
    }
    for name, source in right.items():
        plant(tmp_path, name, source)
    return tmp_path


def plant(root: Path, name: str, source: str) -> None:
    """Write one file of a tree."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")


def test_a_tidy_tree_has_no_problems(tree: Path) -> None:
    """No rule cries wolf."""
    assert [problem for rule in RULES for problem in rule(tree)] == []


@pytest.mark.parametrize(("rule", "name", "source", "expected"), PLANTED)
def test_a_planted_violation_is_seen(
    tree: Path, rule: Callable[[Path], Iterator[str]], name: str, source: str, expected: str
) -> None:
    """Each rule reports what it is for."""
    plant(tree, name, source)
    assert any(expected in problem for problem in rule(tree))


def test_every_rule_has_a_planted_violation() -> None:
    """A new rule comes with the proof that it works."""
    assert {planted[0] for planted in PLANTED} == set(RULES)
