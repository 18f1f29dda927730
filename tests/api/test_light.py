"""`import semtune` is quick, and its calls stay calls whatever is imported afterwards."""

from __future__ import annotations

import inspect
import subprocess
import sys

import semtune

HEAVY = ("torch", "transformers", "numpy", "pandas", "sklearn", "matplotlib", "rich", "yaml", "pydantic")


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = f"import sys, semtune\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_packages_of_the_same_names_can_be_called() -> None:
    import semtune.plan.devices
    import semtune.study.grid

    for name in ("plan", "study"):
        found = getattr(semtune, name)
        assert callable(found)
        assert found.__name__ == f"semtune.{name}"
        assert inspect.signature(found) == inspect.signature(getattr(semtune.api, name))
    assert semtune.plan.devices.parse_device is not None


def test_all_is_there() -> None:
    assert set(semtune.__all__) <= set(dir(semtune))


def test_names_and_modules_come_with_their_first_use() -> None:
    program = (
        "import sys, semtune\n"
        "assert 'semtune.api' not in sys.modules and 'semtune.records' not in sys.modules\n"
        "assert issubclass(semtune.errors.ModelError, semtune.SemtuneError)\n"
        "from semtune import Run, tune\n"
        "assert tune is semtune.api.tune and Run is semtune.Run\n"
        "assert not hasattr(semtune, 'tunne')\n"
    )
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)
