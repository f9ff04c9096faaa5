"""Encodings found."""

import pytest

from ftbridge.adapters.sources.text.encoding import CHINESE_CODECS, DecodedText, as_utf8, find_encoding, utf8_blocks
from ftbridge.core.errors import InputError, UsageError

TEXTS = {
    "gb18030": "标签,评论\n1,商务大床房。房间很大。床有2M宽\n0,早餐太差。无论去多少人。那边也不加食品的\n",
    "cp950": "標籤,評論\n1,房間很大。早餐也不錯。服務員態度很好\n0,裏面沒有熱水。不會再來了\n",
    "cp1252": "id,texte\n1,L'hôtel est très bien situé\n2,Le petit déjeuner était délicieux\n3,Größe: 3 €\n",
    "cp932": "番号,本文\n1,ホテルの部屋はとても広くて快適でした\n",
    "cp949": "번호,본문\n1,호텔 방이 아주 넓고 편안했습니다\n",
    "cp1251": "номер,текст\n1,Гостиница была очень хорошей\n",
}


@pytest.fixture
def encoding_of(folder):
    def find(content, **how):
        (folder / "file").write_bytes(content)
        return find_encoding(folder / "file", **how)

    return find


@pytest.mark.parametrize("codec", TEXTS)
def test_an_encoding_is_guessed_and_told(encoding_of, codec):
    found = encoding_of(TEXTS[codec].encode(codec))
    assert (found.codec, found.note) == (codec, f"read as {codec} (guessed; `--encoding` decides)")


@pytest.mark.parametrize("text", [*TEXTS.values(), "ascii\n", "", "联通\n"])
def test_utf_8_text_is_never_taken_for_another_encoding(encoding_of, text):
    for content in (text.encode(), text.encode("utf-8-sig")):
        assert (encoding_of(content).codec, encoding_of(content).note) == ("utf-8", "")
    assert encoding_of(b"ascii line\n" * 200_000 + text.encode() + b"ascii\n").codec == "utf-8"


def test_text_behind_much_ascii_is_seen(encoding_of):
    assert encoding_of(b"ascii line\n" * 200_000 + TEXTS["gb18030"].encode("gb18030")).codec == "gb18030"


def test_utf_8_with_a_few_damaged_bytes_is_still_utf_8(encoding_of):
    assert encoding_of(TEXTS["gb18030"].encode() + b"\xff\xe5\n").codec == "utf-8"


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["a,b\n1,2\n", TEXTS["gb18030"], '[{"药": 1}]', "a,b\n一　万,2\n"])
def test_utf_16_without_a_bom_is_recognised(encoding_of, codec, text):
    assert encoding_of(text.encode(codec)).codec == codec
    assert as_utf8(text.encode(codec)) == text.encode()


def test_zero_bytes_in_utf_8_are_not_taken_for_utf_16(encoding_of):
    assert encoding_of(b"a,b\n1,\0\n").codec == "utf-8"
    assert encoding_of("药\0,".encode() * 9).codec == "utf-8"


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-32"])
def test_bom_tells_the_encoding_and_is_no_text(encoding_of, folder, codec):
    found = encoding_of("药\n".encode(codec))
    assert "".join(DecodedText(folder / "file", found.codec)) == "药\n"
    assert b"".join(utf8_blocks(folder / "file", found)) == "药\n".encode()


def test_encoding_is_guessed_among_the_candidates_given(encoding_of):
    assert encoding_of(b'{"a": "\xe9"}', guesses=CHINESE_CODECS).codec == "utf-8"
    assert encoding_of(TEXTS["cp950"].encode("cp950"), guesses=CHINESE_CODECS).codec == "cp950"


def test_encoding_asked_for_is_taken_without_a_note(encoding_of):
    found = encoding_of(TEXTS["gb18030"].encode("gb18030"), asked="GBK")
    assert (found.codec, found.note) == ("gbk", "")
    assert encoding_of("药\n".encode("utf-16"), asked="utf-16").codec == "utf-16-le"
    assert encoding_of("药a\n".encode("utf-16-be"), asked="utf-16").codec == "utf-16-be"
    assert encoding_of("药药".encode("utf-16-le"), asked="utf-16").codec == "utf-16-le"


@pytest.mark.parametrize("name", ["utf-9", "zip", "idna", "药", "a\0b"])
def test_an_unknown_encoding_is_a_usage_error(encoding_of, name):
    with pytest.raises(UsageError, match="takes a codec of Python's"):
        encoding_of(b"a", asked=name)


def test_an_encoding_that_does_not_fit_is_refused(encoding_of):
    for asked in ("ascii", "utf-8", "utf-32"):
        with pytest.raises(InputError, match=f"is not in {asked}; give another `--encoding`"):
            encoding_of(TEXTS["gb18030"].encode("gb18030"), asked=asked)


@pytest.mark.parametrize("codec", ["utf-8", "gb18030", "cp950"])
def test_bytes_that_do_not_decode_are_marked_and_the_rest_is_kept(folder, codec):
    (folder / "file").write_bytes("中文\n".encode(codec) + b"\xff" + "好\n".encode(codec))
    text = DecodedText(folder / "file", codec)
    assert ("".join(text), text.damaged) == ("中文\n\udcff好\n", True)


def test_utf_16_that_ends_in_half_a_character_is_one_sentence(folder):
    (folder / "file").write_bytes(b"a\0b")
    with pytest.raises(InputError, match="cannot be read as utf-16-le"):
        list(DecodedText(folder / "file", "utf-16-le"))
    (folder / "file").write_bytes("a\ud800\n".encode("utf-16-le", "surrogatepass"))
    assert "".join(DecodedText(folder / "file", "utf-16-le")) == "a\ud800\n"
