"""Columns whose rows belong together in groups, such as those of one user, and which a division of the rows divides.

A model that has been trained on some texts of a user or a source may know the others by them, so scores on these say
little of new ones. Such a column is known by its name and by values that most rows share with others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from semtune.tasks.characters import is_blank, visible

_GROUPS = frozenset(
    word
    for words in (
        "user author speaker patient participant respondent reviewer writer sender poster person pupil interviewee",
        "screenname nickname handle from email mailaddress phone msisdn uid customer account household student teacher",
        "doctor physician therapist url uri link permalink source outlet newspaper publisher website hostname filename",
        "conversation thread chat repo repository ip asin isbn classid requester artist singer politician domain",
        "original originaltext sourcetext augmentedfrom paraphraseof translationof company",
        "versuchsperson vp vpn proband probandin teilnehmer teilnehmerin nutzer nutzerin benutzer autor autorin",
        "verfasser sprecher sprecherin patientin befragte befragter schüler schülerin quelle",
        "absender absenderin kunde kundin kunden konto haushalt telefon arzt ärztin gespräch mailadresse",
        "utilisateur auteur locuteur répondant élève personne expéditeur téléphone",
        "remitente remetente mittente afzender nadawca avsändare gönderen cliente correo teléfono telefone klant",
        "usuario hablante participante paciente encuestado persona fuente usuário utilizador falante pessoa fonte",
        "utente autore parlante partecipante paziente gebruiker spreker deelnemer proefpersoon patiënt bron",
        "użytkownik uczestnik pacjent źródło osoba kullanıcı yazar hasta katılımcı kaynak",
        "пользователь автор спикер участник пациент респондент испытуемый источник отправитель клиент",
        "用户 用戶 作者 说话人 患者 参与者 被试 来源 ユーザー 著者 話者 参加者 被験者 出典",
        "发件人 客户 差出人 送信者 顧客 고객",
        "사용자 저자 화자 환자 참가자 출처",
    )
    for word in words.split()
)
"""Names of persons and sources, in the languages of labelled data."""
_NUMBERED = frozenset(
    word
    for words in (
        "subject case client member session dialog dialogue document doc article screen school hospital clinic",
        "channel room guild project team site family",
        "page post story book chapter essay video movie film product hotel restaurant business paragraph passage",
        "context question prompt parent group interview meeting file",
        "ticket order album song cluster template pair orig",
        "dokument artikel patienten sitzung fall buch gruppe schule kanal familie",
        "sujet documento artículo artigo articolo conversación gesprek klient",
        "документ статья диалог 文档 文章 会话 文書 記事 문서 기사",
    )
    for word in words.split()
)
"""Names that mean a group only beside a word for its number or name: "subject" may be a mail's."""
_NUMBERS = frozenset(
    word
    for words in (
        "id ids no nr num number name key uuid guid hash code address kennung nummer adresse identifiant identificador",
        "código codigo",
        "nom nombre nome номер код 编号 番号 번호",
    )
    for word in words.split()
)
_NUMBERS_IN_FRONT = _NUMBERS - {"no", "num", "number"}
"""Those that Romance languages write in front; num_users and no_link say something else."""
_BETWEEN = frozenset({"de", "do", "da", "del", "du", "di", "of", "der", "des"})
_JOINED = re.compile(r"(?<=\w)(?:id|uuid|name|nr|nummer|编号|番号|번호)$")
_ADDRESS = re.compile(r"(?:[^<>@]* <)?[^\s<>@]+@[^\s<>@]+\.\w+>?|https?://\S+")
"""An e-mail address or a URL, which names a group under any name of a column."""
_FEWEST = 5
"""Groups from which on they are noted."""
_LONGEST = 200
"""Most characters of a cell that names a group, such as an address."""
_APART = {
    "splits": "rows of one are split apart, which may make scores too high; to keep them together, write train, dev or "
    "test into a column and use it with --split-column NAME",
    "folds": "folds split rows of one apart, which may make their scores too high; where texts of new ones are to be "
    "predicted, compare on a dev split without those of train, and without folds",
}


def group_notes(
    source: str, columns: Mapping[str, Sequence[Any]], by: Literal["splits", "folds"], labels: Sequence[Any] = ()
) -> list[str]:
    """Notes on columns whose rows belong together in groups and are split apart by splits that are made, or by folds.

    Args:
        columns: cells by name of column, without the columns that the user names.
        labels: the label cells of the same rows: a column that says the same in other words (class_id) is no group.
    """
    notes: list[str] = []
    written = [str(label) for label in labels]
    for name, cells in columns.items():
        first = next((str(cell) for cell in cells if cell is not None and not is_blank(str(cell))), "")
        named = _names_groups(name)
        if not named and not _ADDRESS.fullmatch(first):
            continue
        filled = [str(cell) for cell in cells if cell is not None and not is_blank(str(cell))]
        groups = set(filled)
        if not named and not all(map(_ADDRESS.fullmatch, groups)):
            continue
        pairs = {*zip(map(str, cells), written, strict=False)}  # dev may lack the column, whose cells come last
        if len(groups) == len(set(written)) == len(pairs):
            continue
        if _FEWEST <= len(groups) <= len(filled) / 2 and max(map(len, groups)) <= _LONGEST:
            notes.append(
                f'{source}: column "{name}" has {len(groups):,} different values in {len(filled):,} rows, and '
                f"{_APART[by]}"
            )
    return notes


def _names_groups(name: str) -> bool:
    """Whether a column's name is that of a person or source, or of the number of something that has several texts.

    Other words may stand in front (tweet_author), but none that asks or counts (has_url, num_users).
    """
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", visible(name)).casefold()
    apart = re.sub(r"\be[\W_]?mails?(?=\b|_)", "email", apart)
    words = [word for word in re.split(r"[\W_]+", apart) if word and word not in _BETWEEN]
    whole = "".join(words)  # class_id, but not class_name, which is rather a label's
    numbered = False
    while len(words) > 1 and (words[-1] in _NUMBERS or words[0] in _NUMBERS_IN_FRONT):
        words = words[:-1] if words[-1] in _NUMBERS else words[1:]
        numbered = True
    if not words or not {"has", "is", "num", "number", "no", "n", "count"}.isdisjoint(words[:-1]):
        return False
    if words[-1] == "from" and len(words) > 1 and whole not in _GROUPS:  # a day, as in valid_from
        return False
    bare = _JOINED.sub("", words[-1])
    forms = {whole, words[-1], words[-1].removesuffix("s"), bare}
    return not forms.isdisjoint(_GROUPS) or ((numbered or bare != words[-1]) and not forms.isdisjoint(_NUMBERED))
