"""Every name and tooltip in English, Chinese and Japanese, and none that a node no longer says."""

from __future__ import annotations

import json

import pytest
from pack_nodes import definitions

from templates.locales import (
    LANGUAGES,
    content_of,
    every_text,
    file_of,
    texts_of,
    wants_translation,
    words_of,
)


@pytest.fixture(scope="module")
def described(comfy_modules):
    return definitions(comfy_modules)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_file_holds_what_the_nodes_say_now(described, language, capsys):
    written = file_of(language).read_text(encoding="utf-8")
    assert written == content_of(language, described), "run `python -m templates`"
    texts = json.loads(written)
    assert texts.keys() == described.keys()
    assert all(every_text(texts))
    with capsys.disabled():
        print(f"\n{language}: {len(texts)} nodes, {len(list(every_text(texts)))} texts")


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_no_text_lacks_its_translation_and_no_translation_its_text(described, language):
    said = {
        text for one in described.values() for text in every_text(texts_of(one)) if wants_translation(text)
    }
    words = words_of(language)
    assert sorted(said - words.keys()) == []
    assert sorted(words.keys() - said) == []
    assert [text for text, other in words.items() if not other.strip() or other == text] == []


def test_three_languages():
    assert set(LANGUAGES) == {"en", "zh", "ja"}
