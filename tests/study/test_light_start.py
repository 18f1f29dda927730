"""What a study's own process imports before its runs: not transformers and scikit-learn, which cost seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import json, sys
import semtune.study.study
from semtune.registry import BASELINES, READOUTS
from semtune.study.grid import study_from
methods = ["full", "lora", "qlora", "dora"]
study_from({"task": "practice", "methods": methods, "readouts": list(READOUTS)}, "the test", from_file=True).runs()
for name in BASELINES:
    BASELINES.get(name).target_kinds
print(json.dumps(sorted({"transformers", "sklearn", "scipy"} & sys.modules.keys())))
"""


def test_before_its_runs(tmp_path: Path) -> None:
    printed = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert json.loads(printed.stdout) == []
