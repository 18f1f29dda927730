"""Columns whose rows belong together are known by their names, in several languages, and by values that repeat."""

from __future__ import annotations

from pathlib import Path

import pytest

from semtune.records import TaskOptions
from semtune.tasks.row_groups import group_notes
from semtune.tasks.table import Table


@pytest.mark.parametrize(
    "name",
    ["user_id", "Author", "patientID", "conversation_id", "userName", "username", "url", "source_url", "tweet author",
     "Versuchsperson", "VP-Nr", "Nutzer-ID", "Patientennummer", "Quelle", "id_usuario", "código do cliente",
     "auteur", "utente", "użytkownik", "ID пользователь", "用户ID", "ユーザー", "product name",
     "email", "E-mail", "e_mail_address", "From", "from_id", "Absender", "screen_name", "@author.screen_name", "handle",
     "thread", "conversation", "customer", "account", "Kunde", "phone", "msisdn", "household", "class_id", "channel_id",
     "Ticket ID", "order_id", "artist", "Requester Name", "original_text", "augmented_from", "pair_id", "template_id",
     "cluster_id", "orig_id", "company",
     "chat", "repo", "ip address", "Telefonnummer", "Отправитель", "客户"],
)  # fmt: skip
def test_groups_that_are_split_apart_are_noted(name: str) -> None:
    columns = {name: [i % 8 for i in range(40)], "text_id": [i % 8 for i in range(40)]}
    (note,) = group_notes("t.csv", columns, "splits")
    assert f'column "{name}" has 8 different values in 40 rows' in note and "--split-column" in note


@pytest.mark.parametrize(
    ("name", "groups"),
    [("user_id", 2), ("user_id", 30), ("user_id", 40), ("subject", 8), ("user_mood", 8), ("num_users", 8),
     ("no_links", 8), ("product", 8), ("id", 8), ("paid", 8), ("rating", 8), ("name", 8), ("", 8),
     ("channel", 8), ("class", 8), ("class_name", 8), ("valid_from", 8), ("account_type", 8), ("address", 8),
     ("mail", 8), ("phone_model", 8), ("has_email", 8), ("order", 8), ("cluster", 8), ("text", 8),
     ("screen", 8), ("e", 8)],
)  # fmt: skip
def test_other_columns_are_no_groups(name: str, groups: int) -> None:
    assert group_notes("t.csv", {name: [i % groups for i in range(40)]}, "splits") == []


@pytest.mark.parametrize("form", ["u{}@x.org", "Ann {0} <u{0}@x.org>", "https://x.org/{}"])
def test_addresses_are_groups_under_any_name(form: str) -> None:
    cells: list[object] = [form.format(i % 8) for i in range(40)]
    assert group_notes("t.csv", {"de": [None, "", *cells]}, "splits") != []
    assert group_notes("t.csv", {"de": [*cells, "none"]}, "splits") == []
    assert group_notes("t.csv", {"de": [], "few": cells[:4] * 9}, "splits") == []


def test_a_column_that_repeats_the_labels_is_no_group() -> None:
    labels = [f"topic {i % 8}" for i in range(40)]
    assert group_notes("t.csv", {"class_id": [i % 8 for i in range(40)]}, "splits", labels) == []
    assert group_notes("t.csv", {"class_id": [i // 5 for i in range(40)]}, "splits", labels) != []


def test_empty_cells_are_no_group() -> None:
    (note,) = group_notes("t.csv", {"author": [*range(6), *range(6), *[None] * 9, *[" "] * 9]}, "folds")
    assert "6 different values in 12 rows, and folds split rows of one apart" in note
    assert group_notes("t.csv", {"author": [*range(6), *[None] * 30]}, "splits") == []


def test_folds_of_given_splits_are_noted_for_train_and_dev_together(tmp_path: Path) -> None:
    """In neither file alone do most values repeat."""
    files = {}
    for split, word in (("data", "early"), ("dev_data", "noon"), ("test_data", "dawn")):
        rows = [f"{word} visit {i},{'ab'[i % 2]},user{i}" for i in range(6)]
        file = tmp_path / f"{split}.csv"
        file.write_text("\n".join(["text,label,user_id", *rows]), encoding="utf-8")
        files[split] = str(file)
    task = Table(TaskOptions(**files))
    assert not any("user_id" in note for note in task.notes)
    assert any('"user_id" has 6 different values in 12 rows, and folds' in note for note in task.group_notes)
