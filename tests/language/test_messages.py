"""Every message is in both languages: found in the code, translated, compiled, with the same values in it."""

import re

from babel.messages.mofile import read_mo

from .messages import FILE, NOT_SHOWN, extract, is_internal, literals, placeholders, read_catalogue, sources

CHINESE = "[\u4e00-\u9fff]"
MARK = "[\u3001\u3002\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f]"
# Chinese without a blank to Latin or to code, ASCII punctuation beside it, a blank beside its own punctuation.
ODD = re.compile(
    rf"{CHINESE}[A-Za-z0-9`]|[A-Za-z0-9`]{CHINESE}|{CHINESE}[,:;?!]|[,:;?!(] ?{CHINESE}|{CHINESE} [()]"
    rf"| {MARK}|{MARK} (?! )(?!$)|{CHINESE} +{CHINESE}"
)


def name(message):
    return (message.id if isinstance(message.id, str) else message.id[0], message.context)


def translation(message):
    return message.string if isinstance(message.string, str) else message.string[0]


def test_what_a_user_is_shown_is_written_as_a_message():
    bare = [each for file, tree in sources() for each in literals(file, tree) if not each.wrapped]
    wrong = [f"{each.file}:{each.node.lineno}: {each.text!r}" for each in bare if not is_internal(each)]
    assert not wrong, 'write _("..."), see CONTRIBUTING.md'
    stale = NOT_SHOWN.keys() - {place for each in bare for place in each.places}
    assert not stale, "exceptions for nothing"


def test_every_message_is_in_the_catalogue_and_nothing_else():
    wanted = {(text if isinstance(text, str) else text[0], context) for text, context in extract()}
    assert {name(each) for each in read_catalogue() if each.id} == wanted, "run `make messages`"


def test_every_message_is_translated():
    missing = [each.id for each in read_catalogue() if each.id and not (any(each.string) and not each.fuzzy)]
    assert not missing


def test_chinese_has_blanks_to_latin_and_punctuation_of_its_own():
    odd = [translation(each) for each in read_catalogue() if each.id and ODD.search(translation(each))]
    assert [text for text in odd if 'eval "$(' not in text and "[问题, 回答]" not in text] == []


def test_a_translation_has_the_same_values_in_it():
    for each in read_catalogue():
        text = each.id if isinstance(each.id, str) else each.id[-1]
        if text and any(each.string):
            assert placeholders(translation(each)) == placeholders(text), text
            assert translation(each).startswith("\n") == text.startswith("\n"), text


def test_the_compiled_catalogue_is_that_of_the_written_one():
    with FILE.with_suffix(".mo").open("rb") as file:
        compiled = {name(each): translation(each) for each in read_mo(file) if each.id}
    assert compiled == {name(each): translation(each) for each in read_catalogue() if each.id and any(each.string)}
