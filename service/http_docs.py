"""The page at /docs: the API's description as plain HTML, complete in itself.

The usual page loads its scripts from a foreign server: it stays empty without the Internet, and a script of somebody
else's has no place beside a token that moves money.
"""

import json
from collections.abc import Mapping
from html import escape
from typing import Any, Final

_STYLE: Final = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2733;background:#fff}
h2{margin-top:2.5rem;border-top:1px solid #d5dce3;padding-top:1rem;font-size:1.1rem}
code,pre{font:14px/1.45 ui-monospace,monospace}pre{background:#f3f6f8;padding:.8rem;overflow:auto}
b{display:inline-block;min-width:4rem;color:#0b6}table{border-collapse:collapse}
td{padding:.2rem 1rem .2rem 0;vertical-align:top}
@media(prefers-color-scheme:dark){body{background:#10161c;color:#d7dee5}pre{background:#1b242d}h2{border-color:#2b3641}a{color:#7cc4ff}}
"""


def docs_page(schema: Mapping[str, Any]) -> str:
    """The page for this description."""
    info = schema["info"]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])}</p>",
        '<p>For programs: <a href="/openapi.json">/openapi.json</a></p>',
    ]
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            parts.append(_operation(method, path, operation))
    parts.append("<h2>Shapes</h2>")
    for name, shape in sorted(schema["components"]["schemas"].items()):
        text = escape(json.dumps(shape, indent=2, ensure_ascii=False))
        parts.append(
            f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary><pre>{text}</pre></details>'
        )
    parts.append("</body></html>")
    return "".join(parts)


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    lines = [f"<h2><b>{escape(method.upper())}</b> <code>{escape(path)}</code></h2>"]
    lines.append(f"<p>{escape(operation.get('description', operation.get('summary', '')))}</p><table>")
    for parameter in operation.get("parameters", ()):
        name = f"{parameter['name']} ({parameter['in']})"
        lines.append(f"<tr><td><code>{escape(name)}</code><td>{escape(parameter.get('description', ''))}</tr>")
    body = operation.get("requestBody")
    if body:
        lines.append(f"<tr><td>body<td>{_shape(body)}</tr>")
    for status, response in operation["responses"].items():
        lines.append(f"<tr><td>{escape(str(status))}<td>{_shape(response) or escape(response['description'])}</tr>")
    lines.append("</table>")
    return "".join(lines)


def _shape(described: Mapping[str, Any]) -> str:
    """A link to the shape that is sent or answered."""
    reference = described.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
    name = escape(reference.rpartition("/")[2])
    return f'<a href="#{name}"><code>{name}</code></a>' if name else ""
