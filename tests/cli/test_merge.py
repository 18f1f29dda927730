"""`semtune merge` as a user types it; what it writes is tested in tests/runs/test_merge.py."""

from __future__ import annotations

from pathlib import Path

from .conftest import Semtune, last_json


def test_a_folder_that_is_no_run_is_refused_in_one_sentence(semtune: Semtune, tmp_path: Path) -> None:
    done = semtune("merge", "nowhere", "--out", "merged", "--json", check=2)
    assert last_json(done)["error"].startswith("nowhere is not a run folder")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "merged").exists()


def test_the_folder_to_write_must_be_named(semtune: Semtune) -> None:
    assert "--out" in semtune("merge", "run", check=2).stderr
