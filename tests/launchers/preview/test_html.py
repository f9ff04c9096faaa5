"""A preview in a notebook: what is learned stands out, and data is never markup."""

from ftbridge.launchers.preview.preview import BackendView, EncodedSample, Preview, Stretch
from ftbridge.launchers.preview.token_statistics import TokenCounts, summarize_counts

EVIL = "<img src=x onerror=alert(1)>"


def shown(*, answers=("a", "a"), png=None):
    views = {}
    for name, answer in zip(("xtuner", "llamafactory"), answers, strict=True):
        text = [Stretch(EVIL, trained=False), Stretch(answer, trained=True)]
        sample = EncodedSample([1, 2], [-100, 2], [EVIL, answer], text, 2, 1, "")
        views[name] = BackendView(name, [sample], summarize_counts(TokenCounts({2: 1}, 1, {}), 10))
    preview = Preview("药", 1, EVIL, "Qwen 2.5", 10, views, [EVIL], [EVIL], png)
    return preview._repr_html_()


def test_text_that_is_learned_is_green_and_shown_once_where_frameworks_agree():
    html = shown()
    assert html.count('<span style="color: green; text-decoration: underline">a</span>') == 1
    assert "xtuner, llamafactory: 2 tokens, 1 learned" in html
    html = shown(answers=("a", "b"))
    assert html.count("<span") == 2


def test_nothing_of_the_data_is_markup():
    html = shown()
    assert "<img" not in html
    assert html.count("&lt;img src=x onerror=alert(1)&gt;") == 4


def test_histogram_is_in_the_page_unless_it_is_gone(tmp_path):
    picture = tmp_path / "lengths.png"
    assert "<img" not in shown(png=str(picture))
    picture.write_bytes(b"picture")
    assert '<img src="data:image/png;base64,cGljdHVyZQ=="' in shown(png=str(picture))
