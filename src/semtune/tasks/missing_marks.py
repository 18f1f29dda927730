"""Whole cells that stand for no value: errors of spreadsheets, marks of missing values, placeholders of hidden labels.

    error         #VALUE!  #WERT!  Err:502   a formula failed; refused everywhere
    mark          #N/A  #NV  \\N  <NULL>       what programs write for a missing value; refused as text and as label
    word          n/a  nan  null             may be a value of its own; remarked
    placeholder   unknown  k.A.  -99         may stand for labels that are hidden or were not given; remarked
    deleted       [removed]  <Media omitted>   stands in place of a message in dumps and exports; remarked as text

The names of errors are those that Excel, LibreOffice and Google Sheets have in their translations.
"""

from __future__ import annotations

import re

_ERRORS = """
    #NULL! #DIV/0! #VALUE! #REF! #NAME? #NUM! #GETTING_DATA #SPILL! #CALC! #FIELD! #BLOCKED! #CONNECT! #UNKNOWN!
    #BUSY! #PYTHON! #TIMEOUT! #EXTERNAL! #ERROR! #ERR!
    #WERT! #BEZUG! #ZAHL! #ÜBERLAUF! #KALK! #FELD! #BLOCKIERT! #VERBINDEN! #UNBEKANNT! #BESCHÄFTIGT! #DATEN_ABRUFEN
    #NUL! #VALEUR! #NOM? #NOMBRE! #EPARS! #PROPAGATION! #CALCUL! #CHAMP! #CONNEXION! #INCONNU! #OCCUPÉ!
    #¡NULO! #¡DIV/0! #¡VALOR! #¡REF! #¿NOMBRE? #¡NUM! #¡DESBORDAMIENTO! #¡CALC! #¡CAMPO! #OBTENIENDO_DATOS
    #NULLO! #VALORE! #RIF! #NOME? #ESPANSIONE! #CAMPO! #NULO! #VALOR! #NÚM! #DESPEJAR!
    #LEEG! #DEEL/0! #WAARDE! #VERW! #NAAM? #GETAL! #OVERLOOP! #VELD!
    #ZERO! #DZIEL/0! #ARG! #ADR! #NAZWA? #LICZBA! #ROZLANIE!
    #ПУСТО! #ДЕЛ/0! #ЗНАЧ! #ССЫЛКА! #ИМЯ? #ЧИСЛО! #ПЕРЕНОС! #ВЫЧИС!
    #SKÄRNING! #DIVISION/0! #VÄRDEFEL! #REFERENS! #NAMN? #OGILTIGT!
    #VÆRDI! #REFERENCE! #NAVN? #OVERLØB! #VERDI! #OVERFLYT! #TYHJÄ! #JAKO/0! #ARVO! #VIITTAUS! #NIMI? #LUKU!
    #DĚLENÍ_NULOU! #HODNOTA! #ODKAZ! #NÁZEV? #ČÍSLO! #NULLA! #ZÉRÓOSZTÓ! #ÉRTÉK! #HIV! #NÉV? #SZÁM!
    #BOŞ! #SAYI/0! #DEĞER! #BAŞV! #AD? #SAYI! #TAŞMA!
"""
SPREADSHEET_ERRORS = frozenset(_ERRORS.split())
"""What a spreadsheet writes where a formula failed."""
_NUMBERED_ERROR = re.compile(r"(?:Err|Error|Erreur|Errore|Erro|Fehler|Fout):\s?5\d\d")
"""LibreOffice's errors; the codes are 501 to 540."""

_TOO_NARROW = re.compile(r"#{7,}")
"""What a spreadsheet shows, and some save, where a column is too narrow for its numbers and dates."""
_MAY_BE_TOO_NARROW = re.compile(r"#{3,6}")
"""Beside # and ##, these may be the levels of headings."""

_SPREADSHEET_MARKS = frozenset(
    {"#n/a", "#nv", "#n/d", "#n/d!", "#n/b", "#i/t", "#н/д", "#yok", "#saknas!", "#puuttuu!", "#hiányzik"}
    | {"#není_k_dispozici", "#n/a n/a", "#n/a!", "#na"}
)
"""#N/A in Excel's translations."""
_DATABASE_MARKS = frozenset({"<null>", "(null)", "[null]", "{null}", "<na>", "<nat>"})
_NOT_A_NUMBER = re.compile(r"[-+]?1\.#(?:qnan|snan|ind|inf)\d*", re.IGNORECASE)
"""How Windows' C library wrote NaN and infinity."""

MISSING_WORDS = frozenset({"?", "-", "--", "n/a", "na", "nan", "null", "missing", "nat"})
PLACEHOLDERS = frozenset(
    {"??", "???", "_", ".", "*", "x", "xxx", "-1", "none", "nil", "unknown", "hidden", "tbd", "todo", "undefined"}
    | {"unlabeled", "unlabelled", "test", "blank", "empty", "redacted", "withheld", "-99", "-999", "-9999"}
    | {"n.a.", "n. a.", "n.d.", "n/d", "nd", "s/d", "k.a.", "k. a.", "k.a", "н/д", "no data", "not available"}
    | {"no answer", "no response", "not answered", "no label", "keine angabe", "keine antwort", "unbekannt", "leer"}
    | {"choose an item", "choose an item.", "select one", "select an option", "please select", "please choose"}
    | {"- select -", "-- select --", "--select--", "select...", "bitte wählen", "bitte auswählen"}
    | {"vide", "inconnu", "en blanco", "sin datos", "sin respuesta", "desconocido", "vuoto", "em branco"}
)
_THING = (
    "(?:message|tweet|post|comment|reply|content|status|video|photo|image|story|thread|submission|question|answer|"
    "review)"
)
_GONE = "(?:deleted|removed|unsent|recalled|flagged|moderated|redacted|withheld|hidden)"
_BY = r"(?: by (?!mistake|accident|error|default)[\w ]+)?"
_DELETED = re.compile(
    "|".join(
        (
            rf"[\[<({{*]+ ?(?:(?:{_THING}|account|original message|user) )?(?:was )?(?:{_GONE}|dead|unavailable)"
            r"(?: by [^\])>}*]*)? ?[\])>}*]+",
            rf"(?:this|original) {_THING} (?:(?:was|is|has been) )?(?:{_GONE}|unavailable|"
            rf"(?:not|no longer) available|from a suspended account){_BY}",
            rf"this {_THING} isn['’]t available(?: right now| anymore)?",
            rf"(?:tweet|post|comment|message) (?:not found|deleted|removed){_BY}",
            r"not available|(?:deleted|removed) (?:message|comment|post|tweet)",
            r"(?:deleted|removed) by (?:the |its )?(?:user|author|owner|reddit|\w*moderators?|admin(?:istrator)?s?)",
            "you (?:deleted|unsent|recalled) (?:this|a) message",
            r"(?!(?:i|he|she|it|we|they|who) )(?:\S+ ){1,3}(?:sent an attachment|unsent a message)",
            "<?(?:media|image|photo|video|video note|audio|voice message|sticker|gif|document|file|contact card|poll) "
            "omitted>?",
            "<?(?:medien|bild|video|audio|sticker|gif|dokument) (?:ausgeschlossen|weggelassen)>?",
            "\ufffc+|(?:loading|wird geladen|chargement|cargando|carregando|caricamento|загрузка) ?(?:[.]{2}|…)",
            "(?:diese nachricht wurde|du hast diese nachricht) gelöscht",
            "<?(?:multimedia|imagen|video|audio|sticker|gif|documento) omitid[oa]>?",
            "se eliminó este mensaje|este mensaje fue eliminado|eliminaste este mensaje",
            "<?(?:médias?|fichier|image|vidéo|audio|sticker) (?:omise?s?|absente?)>?",
            "ce message a été supprimé|vous avez supprimé ce message",
            "<?(?:mídia|arquivo de mídia|imagem|vídeo|áudio|figurinha|documento) (?:ocult|omitid)[oa]>?",
            "(?:esta )?mensagem (?:foi )?apagada|você apagou esta mensagem",
            "<?(?:media|immagine|video|audio|sticker|documento) omess[oai]>?",
            "questo messaggio è stato eliminato|hai eliminato questo messaggio",
            "<?(?:без медиафайлов|изображение опущено)>?|(?:данное )?сообщение удалено",
        )
    ),
    re.IGNORECASE,
)
"""What Reddit, Twitter, WhatsApp, Facebook and others put in place of a message that is gone or was left out."""
DELETED_REMARK = (
    "a text is a mark of a deleted message or of content that was left out or not loaded, and was taken as it stands,"
)
_LONGEST_MARK = 120
_BRACKETED = re.compile(r"[<(\[{]\s*(.*?)\s*[>)\]}]")


def spreadsheet_error(cell: str) -> str | None:
    """The error of a spreadsheet that is all that `cell` holds; None: it holds something else.

    >>> spreadsheet_error(" #WERT! "), spreadsheet_error("see #WERT! above")
    ('#WERT!', None)
    """
    text = cell.strip()
    return text if text in SPREADSHEET_ERRORS or _NUMBERED_ERROR.fullmatch(text) else None


def is_too_narrow(cell: str) -> bool:
    """Whether `cell` is what a spreadsheet shows of a value for which its column is too narrow."""
    return _TOO_NARROW.fullmatch(cell.strip()) is not None


def is_deleted_mark(cell: str) -> bool:
    """Whether `cell` stands in place of a message that was deleted, or of an attachment.

    >>> is_deleted_mark("[removed]"), is_deleted_mark("They removed my post")
    (True, False)
    """
    if len(cell) > _LONGEST_MARK:
        return False
    text = cell.strip().strip("\u200e\u200f").removesuffix(".")  # WhatsApp writes marks of direction
    return _DELETED.fullmatch(text) is not None


def missing_mark(cell: str) -> str | None:
    """Who marks missing values by what `cell` holds; None: nobody, or the cell may well be a value.

    >>> missing_mark("#NV"), missing_mark("n/a")
    ('spreadsheets', None)
    """
    text = cell.strip()
    if text == "\\N" or text.casefold() in _DATABASE_MARKS:
        return "databases and data frames"
    if _NOT_A_NUMBER.fullmatch(text):
        return "programs of Windows"
    return "spreadsheets" if text.casefold() in _SPREADSHEET_MARKS and text == text.upper() else None


def is_missing_word(text: str) -> bool:
    """Whether tables mark missing values by this word or sign."""
    word = text.strip().casefold()
    return word in MISSING_WORDS or missing_mark(text) is not None or _MAY_BE_TOO_NARROW.fullmatch(word) is not None


def is_placeholder(text: str) -> bool:
    """Whether tables put this in place of labels that are hidden from the reader, or that nobody gave."""
    word = text.strip().casefold()
    bracketed = _BRACKETED.fullmatch(word)
    return is_missing_word(text) or not {word, bracketed[1] if bracketed else word}.isdisjoint(
        PLACEHOLDERS | MISSING_WORDS
    )
