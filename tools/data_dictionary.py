"""Write the tables of docs/outputs.md from the code: ``python tools/data_dictionary.py`` (``make docs`` does it)."""

from __future__ import annotations

import re
from pathlib import Path

from SpinalCordSegLib.flags import KINDS
from SpinalCordSegLib.slice_table import columns
from SpinalCordSegLib.tables import TABLES, unit_of

PAGE = Path(__file__).resolve().parents[1] / "docs" / "outputs.md"


def tables() -> dict[str, str]:
    """Marker in the page → its Markdown table."""
    described = {
        file: "| column | unit | meaning |\n|---|---|---|\n"
        + "\n".join(f"| `{name}` | {unit_of(name)} | {meaning} |" for name, meaning in meanings.items())
        for file, meanings in TABLES.items()
    }
    return described | {
        "columns": "| column | unit | decimals | meaning |\n|---|---|---|---|\n"
        + "\n".join(f"| `{one.name}` | {one.unit} | {one.decimals or ''} | {one.meaning} |" for one in columns()),
        "flags": "| kind | title | judged from | meaning |\n|---|---|---|---|\n"
        + "\n".join(f"| `{kind}` | {one.title} | {one.origin} | {one.meaning} |" for kind, one in KINDS.items()),
    }


def renewed(page: str) -> str:
    """The page with its tables as the code has them."""
    for name, table in tables().items():
        block = f"<!-- begin {name} -->\n{table}\n<!-- end {name} -->"
        page = re.sub(rf"<!-- begin {name} -->.*<!-- end {name} -->", lambda _, b=block: b, page, flags=re.DOTALL)
    return page


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
