"""``Config`` as people read it: the commented ``agent.toml`` of a new station, and the table of the documentation.

Both are made from the fields and the docstring of ``Config``, so that they cannot say anything else.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import textwrap
from dataclasses import dataclass

from edge_agent.config import Config

_ATTRIBUTE = re.compile(r" {4}(\w+): (.*)")
_WIDTH = 100
_HEAD = """\
# What this station may be told; 'touchstone-agent install' wrote it once and never changes it.
# Every key stands here with its default: take the '#' away before one to set it, then
# 'systemctl restart touchstone-agent'. A key that is not known stops the agent, so that no typo goes unseen.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One key: its default (``None``: not set), and what it means."""

    key: str
    default: str | float | None
    says: str


def settings() -> tuple[Setting, ...]:
    """Return every setting, in the order of ``Config``."""
    says = _attributes(Config)
    defaults = dataclasses.asdict(Config())
    return tuple(Setting(key=key, default=default, says=says[key]) for key, default in defaults.items())


def agent_toml() -> str:
    """Return an ``agent.toml`` that sets nothing and shows everything."""
    return "\n".join([_HEAD, *(_commented(setting) for setting in settings())])


def settings_table() -> str:
    """Return a Markdown table of every setting."""
    rows = [f"| `{one.key}` | {_shown(one.default)} | {one.says} |" for one in settings()]
    return "\n".join(["| key | default | what it sets |", "|---|---|---|", *rows]) + "\n"


def _commented(setting: Setting) -> str:
    words = textwrap.wrap(setting.says, _WIDTH, initial_indent="# ", subsequent_indent="# ")
    value = '"..."    # not set' if setting.default is None else json.dumps(setting.default)
    return "\n".join([*words, f"#{setting.key} = {value}", ""])


def _shown(default: str | float | None) -> str:
    return "not set" if default is None else f"`{json.dumps(default)}`"


def _attributes(cls: type) -> dict[str, str]:
    """Return what the "Attributes:" of a class' docstring say of each."""
    says: dict[str, str] = {}
    name = ""
    for line in inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")[2].splitlines():
        begins = _ATTRIBUTE.fullmatch(line)
        if begins:
            name = begins[1]
            says[name] = begins[2]
        elif name and line.strip():
            says[name] += f" {line.strip()}"
    return says
