"""Plugins: modules of other people that register methods, tasks, strategies and the like when they are imported.

A plugin is named in the environment variable SEMTUNE_PLUGINS (module names, comma separated), or by an installed
distribution's entry point of the group "semtune.plugins". It calls, for example,
`semtune.registry.BASELINES.register("mine", "my_module:Mine", "what it is, in one line")`. A plugin is found where
Python finds modules: installed, or in a folder of PYTHONPATH; nothing is imported from the working directory. Child
processes inherit both variables, so they know the same names.
Standard library only: `semtune --help` loads plugins too.
"""

from __future__ import annotations

import importlib
import os
from importlib.metadata import entry_points

from semtune.errors import PluginError

VARIABLE = "SEMTUNE_PLUGINS"
GROUP = "semtune.plugins"


def load_plugins() -> tuple[str, ...]:
    """Import every plugin; their module names. A module that was imported before is not imported again.

    Raises PluginError for one that cannot be imported.
    """
    given = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    found = dict.fromkeys(given, f"named in {VARIABLE}")
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.module, f"installed as the entry point {entry.name}")
    for name, where in found.items():
        try:
            importlib.import_module(name)
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            missing = isinstance(error, ModuleNotFoundError) and error.name == name.partition(".")[0]
            advice = "install it, or name its folder in PYTHONPATH" if missing else "mend it"
            raise PluginError(
                f"The plugin {name} ({where}) cannot be imported ({type(error).__name__}: {reason}); "
                f"{advice}, or take it off the list."
            ) from error
    return tuple(found)
