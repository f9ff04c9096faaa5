"""The page: what is in it, that nothing in it is obeyed, and how it does in a browser."""

import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from html.parser import HTMLParser

import msgspec
import openpyxl
import pytest
from jinja2 import UndefinedError

import ftbridge
from ftbridge.core.errors import InputError, UsageError
from ftbridge.evaluation.record import Model, Prompted, load_evaluation
from ftbridge.evaluation.report import report as report_module
from ftbridge.evaluation.report.report import MOST_BYTES
from ftbridge.evaluation.report.words import NOTHING, Words
from tests.builders.evaluations import LABELS, draw, evaluation, generation, prediction, write_predictions
from tests.builders.runs import record_run
from tests.builders.sweeps import grid, write_sweep
from tests.evaluation.report import pictures

HOSTILE = [
    "<script>alert(1)</script>", "</script><script>alert(2)</script>", '"><img src=x onerror=alert(3)>',
    "{{ 7*7 }}{% raw %}", "]]><svg onload=alert(4)>", "' onmouseover='alert(5)", "<!-- ", "</title></style><b>bold",
    "\u202egnp.exe", "&lt;b&gt;", "javascript:alert(6)", "\x00\x1b]0;title\x07", "</td></tr></table><h1>mine</h1>",
]  # fmt: skip
HEADINGS = {
    "en": ["Result on news-test", "How it was trained, and on what", "What the words mean"],
    "zh": ["在 news-test 上的结果", "训练数据与设置", "名词解释"],
}


class Page(HTMLParser):
    """A page as a browser sees it: its elements with their attributes, and the text of each kind."""

    VOID = ("meta", "line", "circle", "polyline", "input", "br")

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts = [], [], {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data.strip())

    @property
    def tags(self):
        return Counter(tag for tag, _ in self.elements)


def page(*sources, **options):
    return Page(ftbridge.report(*sources, **{"language": "en", **options}).html.read_text("utf-8"))


def hostile_project(news):
    """Write an evaluation whose every text is hostile: answers, labels, title and dataset."""
    labels = HOSTILE
    rows, before = (
        [prediction(at, f"{text} q{at}", f"{answer}", text) for at, text in enumerate(labels, 1)]
        for answer, labels in ((HOSTILE[0], labels), (HOSTILE[1], labels))
    )
    model = Model(title=HOSTILE[2], run="")
    evaluation(
        news.folder / "classes", rows, labels=labels, before=before, title=HOSTILE[2], model=model, dataset=HOSTILE[4]
    )
    free = [prediction(at, f"{text} q{at}", f"an answer {text}", text) for at, text in enumerate(HOSTILE, 1)]
    base = [msgspec.structs.replace(row, answer=f"{row.answer} too") for row in free]
    generation(news.folder / "free", free, before=base, title=HOSTILE[1], dataset=HOSTILE[7])
    record_run(news, "odd", dataset=HOSTILE[0], model=HOSTILE[2])
    return news.folder / "classes", news.folder / "free", "odd"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_page_has_all_its_parts_in_both_languages(news, language):
    found = page("news-lora", language=language)
    assert found.texts["h2"] == HEADINGS[language]
    assert found.tags["h1"] == 1
    assert dict(found.elements)["html"]["lang"] == {"en": "en", "zh": "zh-CN"}[language]
    assert found.open == []


def test_charts_and_tables_can_be_read_aloud(news):
    found = page("news-lora")
    charts = [attrs for tag, attrs in found.elements if tag == "svg" and attrs.get("role") == "img"]
    assert len(charts) == len([text for text in found.texts["title"][1:] if text])
    assert all(attrs.get("scope") in {"row", "col"} for tag, attrs in found.elements if tag == "th")


def test_the_page_takes_nothing_from_elsewhere(news):
    found = page("news-lora")
    for tag, attrs in found.elements:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form", "image", "use"}
        assert not {"src", "srcset", "style", "xlink:href", "action"} & attrs.keys()
        assert attrs.get("href", "#").startswith("#")
    policy = next(attrs["content"] for _, attrs in found.elements if attrs.get("http-equiv"))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def test_no_text_of_others_becomes_markup(news):
    plain = page("news-lora")
    found = page(*hostile_project(news), out="hostile.html")
    assert set(found.tags) <= set(plain.tags) | {"del", "ins"}
    assert (found.tags["script"], found.tags["style"], found.tags["h1"], found.tags["html"]) == (1, 1, 1, 1)
    names = {name for _, attrs in plain.elements for name in attrs}
    assert {name for _, attrs in found.elements for name in attrs} <= names | {"title"}
    shown = " ".join(text for texts in found.texts.values() for text in texts)
    assert "<script>alert(1)</script>" in shown
    assert "{{ 7*7 }}{% raw %}" in shown
    assert "\\u202egnp.exe" in shown
    assert "\u202e" not in shown


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_sweep_has_a_page_by_its_name_its_folder_and_its_file(sizes, tmp_path, language):
    for source in ("sizes", sizes.path, sizes.path / "sweep.json"):
        found = page(source, language=language, out=tmp_path / "page.html")
        assert found.open == []
        assert found.texts["h1"] == [Words(language)("sweep_page_title")]
        assert found.tags["polyline"] >= 5
        assert found.tags["path"] == 9  # seven points, and two in the legend


def test_a_sweeps_files_lie_in_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep = write_sweep(tmp_path, settings=grid(sample=[100, 500]), seeds=(1,), items=40)
    made = ftbridge.report("sizes", language="en", xlsx=True, markdown=True)
    assert made.html == sweep.path / "report.html"
    text = made.markdown.read_text("utf-8")
    assert text.startswith("<!-- ftbridge report -->\n")
    assert "| sample | Accuracy | Training samples |" in text
    assert re.search(r"\| 500 \| 0\.[0-9]{4} \| 1 min 30 s", text)  # the loss has four digits
    assert 'id="figures"' in made.html.read_text("utf-8")
    with pytest.raises(UsageError, match="the sweep `sizes` has a report of its own; name it alone"):
        ftbridge.report("sizes", "sizes")
    run = sweep.points[0].run
    assert ftbridge.report(sweep.path / "runs" / run).html == sweep.path / "runs" / run / "report.html"


def test_no_option_of_a_sweep_becomes_markup_and_its_charts_can_be_read_aloud(sizes, tmp_path):
    plain = page("sizes", out=tmp_path / "plain.html")
    settings = grid(sample=[100, 500], system=HOSTILE[:4])
    write_sweep(tmp_path, settings=settings, seeds=(1,), items=40, failed={(3, 1)}, labels=HOSTILE, **{HOSTILE[7]: "x"})
    found = page(tmp_path / "sweeps" / "sizes", out=tmp_path / "hostile.html")
    assert set(found.tags) <= set(plain.tags)
    assert {name for _, attrs in found.elements for name in attrs} <= {
        name for _, attrs in plain.elements for name in attrs
    }
    charts = [attrs for tag, attrs in found.elements if tag == "svg" and attrs.get("role") == "img"]
    assert len(charts) == len([text for text in found.texts["title"][1:] if text]) == 1
    assert all(attrs.get("href", "#").startswith("#") and "style" not in attrs for _, attrs in found.elements)


def test_a_hundred_points_are_a_page_within_two_seconds(tmp_path):
    settings = grid(
        sample=[100, 200, 400, 800, 1600], lora_rank=[2, 4, 8, 16], learning_rate=[1e-5, 2e-5, 4e-5, 8e-5, 2e-4]
    )
    sweep = write_sweep(tmp_path, settings=settings, seeds=(1,), items=40, labels=LABELS[:3])
    begun = time.process_time()
    made = ftbridge.report(sweep.path, language="en")
    assert time.process_time() - begun < 2
    assert made.html.stat().st_size < 300_000


@pytest.mark.slow
def test_two_thousand_long_answers_fit_into_two_megabytes(news):
    rows = [prediction(at, "问题" * 300, "回答<&>" * 400, "参考" * 300) for at in range(1, 2001)]
    before = [msgspec.structs.replace(row, answer="以前的回答" * 300) for row in rows]
    generation(news.folder / "qa", rows, before=before)
    made = ftbridge.report(news.folder / "qa", language="zh")
    assert made.html == news.folder / "report.html"
    assert made.html.stat().st_size <= MOST_BYTES
    text = made.html.read_text("utf-8")
    assert text.count("<tr data-is=") == 2000
    assert "（+" in text


def test_above_two_thousand_answers_some_are_shown_and_that_is_said(news):
    generation(news.folder / "qa", [prediction(at, f"q{at}", "a", "a") for at in range(1, 2501)])
    text = ftbridge.report(news.folder / "qa", language="en").html.read_text("utf-8")
    assert "2,000 of 2,500 questions are here: first those whose answer became the same" in text


def test_a_free_answer_that_is_not_the_reference_is_not_called_wrong(news):
    generation(news.folder / "qa", [prediction(1, "q1", "a", "a"), prediction(2, "q2", "a, surely", "a")])
    found = page(news.folder / "qa")
    assert {*found.texts["b"]} >= {"same", "differs"}
    assert not {"✓ right", "✗ wrong"} & {*found.texts["b"]}


def test_short_answers_are_not_cut(news):
    assert "Texts are cut" not in ftbridge.report("news-lora", language="en").html.read_text("utf-8")


def test_a_run_without_an_evaluation_has_a_page(news):
    record_run(news, "plain", dataset="news-train")
    found = page("plain")
    assert "Not measured yet" in found.texts["p"]
    assert any("nobody has asked it a test question yet" in each for each in found.texts["p"])


def test_answers_that_are_not_evaluated_are_told_as_such(news):
    run = record_run(news, "plain", dataset="news-train")
    for name in ("predictions/news-test", "predictions-before/other-test"):
        write_predictions(run.path / name, [])
    told = "This run has answered the questions of news-test, and its answers are not evaluated yet."
    assert any(told in each for each in page("plain").texts["p"])


@pytest.mark.parametrize("value", [float("nan"), 0.0])
def test_a_loss_that_was_no_number_does_no_harm(news, value):
    run = record_run(news, "nan", dataset="news-train")
    (run.path / "metrics.jsonl").write_text(f'{{"step": 1, "loss": {value}}}\n'.replace("nan", "NaN"))
    page("nan")


def test_a_report_lies_where_its_run_does_or_in_the_project(news):
    record_run(news, "other", dataset="news-train")
    assert ftbridge.report("news-lora").html == news.runs / "news-lora" / "report.html"
    assert ftbridge.report("news-lora", "other").html == news.folder / "report.html"
    made = ftbridge.report("news-lora", out="deep/er.html", markdown=True, xlsx=True)
    assert [file.name for file in (made.html, made.xlsx, made.markdown)] == ["er.html", "er.xlsx", "er.md"]


def test_a_report_replaces_a_report_and_nothing_else(news):
    ftbridge.report("news-lora", out="out.html", markdown="out.md")
    ftbridge.report("news-lora", out="out.html", markdown="out.md")
    for name in ("page.html", "notes.md"):
        (news.folder / name).write_text("<p>mine")
    with pytest.raises(
        UsageError, match=r"`page\.html` exists already and is not a report of ftbridge; name another with `--out"
    ):
        ftbridge.report("news-lora", out="page.html")
    with pytest.raises(UsageError, match="`--markdown FILE`"):
        ftbridge.report("news-lora", markdown="notes.md")
    (news.folder / "folder.html").mkdir()
    with pytest.raises(UsageError):
        ftbridge.report("news-lora", out="folder.html")
    assert (news.folder / "page.html").read_text() == "<p>mine"


def test_two_files_of_the_same_name_are_refused(news):
    with pytest.raises(UsageError, match="name the same file"):
        ftbridge.report("news-lora", out="out.html", markdown=news.folder / "out.html")


@pytest.mark.framework
def test_a_real_training_is_told_with_its_tokens_and_losses(in_project, trained, tmp_path):
    run = trained(backend="llamafactory")
    place = run.path / "evaluations" / "qa"
    generation(place, [prediction(at, f"q{at}", "a", "a") for at in range(1, 31)], title=run.id)
    try:
        found = page(place, out=tmp_path / "report.html")
    finally:
        shutil.rmtree(place)  # other tests have the same run
    assert {"Tokens in all", "Longest sample, in tokens", "Rows read", "Base model"} <= {*found.texts["th"]}
    assert "How the loss went down" in found.texts["figcaption"]
    assert found.texts["pre"][-1].count("ftbridge ") == 3


def test_damaged_answers_are_named(news):
    (news.runs / "news-lora" / "evaluations" / "news-test" / "answers" / "predictions.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match="does not hold answers"):
        ftbridge.report("news-lora")


def test_every_value_of_a_template_must_be_there_and_is_escaped():
    environment = report_module._html_environment("en")
    with pytest.raises(UndefinedError):
        environment.from_string("{{ missing }}").render()
    assert environment.from_string("{{ text }}").render(text="<") == "&lt;"


def test_fixed_prompts_stand_beside_one_another_on_the_page_in_the_workbook_and_the_model_card(opened, news):
    place = news.runs / "news-lora" / "evaluations" / "news-test"
    prompts = (
        Prompted(prompt="Who are you?", answer="I am Zhen Huan.", before="I am Qwen."),
        Prompted(prompt="<b>Why?</b>", answer="Be|cause", before=None),
    )
    msgspec.structs.replace(load_evaluation(place), prompts=prompts).save(place)
    made = ftbridge.report("news-lora", language="zh", xlsx=True, markdown=True)
    page = made.html.read_text()
    assert "固定提问：训练前后" in page
    assert "I am <del>Qwen</del>." in page
    assert "I am <ins>Zhen Huan</ins>." in page
    assert "&lt;b&gt;Why?" in page
    assert "--prompt &#39;Who are you?&#39;" in page
    sheet = openpyxl.load_workbook(made.xlsx)["固定提问：训练前后"]
    assert [[cell.value for cell in row] for row in sheet.iter_rows()] == [
        ["提问", "训练前", "训练后"],
        ["Who are you?", "I am Qwen.", "I am Zhen Huan."],
        ["<b>Why?</b>", None, "Be|cause"],
    ]
    lines = made.markdown.read_text().splitlines()
    at = lines.index("### 固定提问：训练前后")
    assert lines[at + 2 : at + 6] == [
        "| 提问 | 训练前 | 训练后 |",
        "|---|---|---|",
        "| Who are you? | I am Qwen. | I am Zhen Huan. |",
        r"| \<b\>Why?\</b\> | 未测 | Be\|cause |",
    ]
    tab = opened(made.html, viewport={"width": 390, "height": 800})
    cells = tab.locator("#prompts-1 ~ .scroll").first.locator("tbody tr").first.locator("td")
    assert [each.inner_text() for each in cells.all()] == [
        "Who are you?", "训练前\nI am Qwen.", "训练后\nI am Zhen Huan.",
    ]  # fmt: skip


def test_a_model_card_gets_the_verdict_and_the_figures(news):
    text = ftbridge.report("news-lora", language="en", markdown=True).markdown.read_text("utf-8")
    assert text.startswith("<!-- ftbridge report -->\n")
    assert "**Better, and not by chance**" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 5
    assert len({row.count("|") for row in rows}) == 1


def test_nothing_in_a_model_card_is_markdown_of_others(news):
    odd = ["a|b\nc", "**bold**", "[link](http://a.example)", "<img src=x>", "`code`", "# heading", "_x_"]
    for at, text in enumerate(odd):
        generation(news.folder / "qa" / str(at), [prediction(1, "q", "a", "a")], title=text, dataset=text, data=str(at))
    text = ftbridge.report(news.folder / "qa", language="en", markdown="card.md").markdown.read_text("utf-8")
    assert "Result on a\\|b c" in text
    assert "<img" not in text.replace("\\<img", "")
    assert not re.search(r"(?<!\\)\[link", text)
    assert "\n# heading" not in text


@pytest.fixture
def opened(browser, news):
    """Return a function that opens a report, and fails where it asks for anything or stumbles."""
    from playwright.sync_api import expect

    expect.set_options(timeout=60_000)
    contexts, trouble = [], []

    def show(file, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        tab = context.new_page()
        tab.on("request", lambda request: trouble.append(request.url) if request.url != file.as_uri() else None)
        tab.on("pageerror", lambda error: trouble.append(str(error)))
        tab.on("console", lambda entry: trouble.append(entry.text))
        tab.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
        tab.goto(file.as_uri())
        return tab

    yield show
    for context in contexts:
        context.close()
    assert trouble == []


@pytest.mark.slow
def test_hostile_texts_do_nothing_in_a_browser(opened, news):
    tab = opened(ftbridge.report(*hostile_project(news), language="en").html)
    assert tab.evaluate("document.querySelectorAll('h1').length") == 1
    assert tab.evaluate("document.querySelectorAll('img, svg[onload], [onmouseover]').length") == 0
    tab.locator(".answers tbody tr").first.hover()


@pytest.mark.slow
def test_even_a_page_that_was_changed_asks_the_network_for_nothing(browser, news):
    file = ftbridge.report("news-lora", language="en").html
    tampered = file.with_name("tampered.html")
    extra = "<img src='http://127.0.0.1:9/a.png'><script>fetch('http://127.0.0.1:9/')</script><link rel=stylesheet href=http://127.0.0.1:9/b.css>"
    tampered.write_text(file.read_text("utf-8").replace("<main>", f"<main>{extra}"), "utf-8")
    tab, asked = browser.new_page(), []
    tab.on("requestfinished", lambda request: asked.append(request.url))
    tab.on("response", lambda response: asked.append(response.url))
    tab.goto(tampered.as_uri())
    assert {*asked} == {tampered.as_uri()}
    tab.close()


@pytest.mark.slow
def test_answers_are_filtered_and_searched(opened, news):
    tab = opened(ftbridge.report("news-lora", language="en").html)
    rows = tab.locator(".answers tbody tr:visible")
    assert rows.count() == 20
    assert tab.locator(".found").inner_text() == "60"
    tab.locator(".more").click()
    assert rows.count() == 60
    counts = {}
    for name in ("r", "w", "c", "g", "l"):
        tab.locator(".filters select").select_option(name)
        counts[name] = int(tab.locator(".found").inner_text())
    assert counts["r"] + counts["w"] == 60
    assert counts["c"] == counts["g"] + counts["l"]
    tab.locator(".filters select").select_option("w")
    shown = tab.locator(".answers tbody tr:visible td:last-child .no")
    assert shown.count() == min(20, counts["w"])
    tab.locator(".filters select").select_option("")
    tab.locator(".filters input").fill("with")
    assert 0 < int(tab.locator(".found").inner_text()) < 60
    tab.locator(".filters input").fill("nobody says this")
    assert rows.count() == 0


@pytest.mark.slow
def test_questions_that_got_worse_are_a_click_from_the_verdict(opened, news):
    tab = opened(ftbridge.report("news-lora", language="en").html)
    tab.get_by_text("See the questions that got worse").click()
    lost = int(tab.locator(".found").inner_text())
    assert f"are wrong now: {lost}." in tab.locator(".verdict").inner_text()
    assert tab.locator(".filters select").input_value() == "l"


def test_without_the_answers_before_there_is_no_link_to_what_changed(news):
    said = "See the questions that got worse"
    assert said in ftbridge.report("news-lora", language="en").html.read_text("utf-8")
    shutil.rmtree(news.runs / "news-lora" / "evaluations" / "news-test" / "answers-before")
    assert said not in ftbridge.report("news-lora", language="en").html.read_text("utf-8")


@pytest.mark.slow
def test_a_table_that_is_wider_than_a_phone_says_so(opened, news):
    made = ftbridge.report("news-lora", language="en")
    heat = opened(made.html, viewport={"width": 390, "height": 800}).locator("figure:has(.heat)")
    assert heat.locator(".hint").is_visible()
    assert "right" in heat.locator(".scroll").get_attribute("class")
    wide = opened(made.html, viewport={"width": 1200, "height": 800})
    assert not wide.locator("figure:has(.heat) .hint").is_visible()


def test_what_is_marked_is_said_only_where_something_is(news):
    said = "Marked: what only one"
    assert said not in ftbridge.report("news-lora", language="en").html.read_text("utf-8")
    before = [prediction(at, f"q{at}", "the old house stands", "a") for at in (1, 2)]
    after = [msgspec.structs.replace(row, answer="the new house stands") for row in before]
    generation(news.folder / "qa", after, before=before)
    assert said in ftbridge.report(news.folder / "qa", language="en").html.read_text("utf-8")


@pytest.mark.slow
def test_tables_are_sorted_by_a_column_both_ways(opened, news):
    tab = opened(ftbridge.report("news-lora", language="en").html)
    table = tab.locator("table.sortable", has_text="Class by class")
    header = table.locator("thead th", has_text="Questions")
    values = lambda: [int(text) for text in table.locator("tbody td:last-child").all_inner_texts()]  # noqa: E731
    header.locator("button").click()
    assert values() == sorted(values(), reverse=True)
    assert header.get_attribute("aria-sort") == "descending"
    header.locator("button").click()
    assert values() == sorted(values())
    table.locator("thead th").first.locator("button").click()
    names = table.locator("tbody th").all_inner_texts()
    assert names == sorted(LABELS)


@pytest.mark.slow
@pytest.mark.parametrize(("language", "scheme", "width"), [("en", "dark", 360), ("zh", "light", 1200)])
def test_of_a_sweep_nothing_stands_beyond_the_edge(opened, sizes, tmp_path, language, scheme, width):
    made = ftbridge.report("sizes", language=language, out=tmp_path / "page.html")
    tab = opened(made.html, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    plot = tab.locator(".learning .plot").bounding_box()
    for box in (each.bounding_box() for each in tab.locator(".learning .plot .mark, .learning .plot .whisker").all()):
        assert plot["x"] - 20 <= box["x"] <= plot["x"] + plot["width"] + 20
        assert plot["y"] - 10 <= box["y"] <= box["y"] + box["height"] <= plot["y"] + plot["height"] + 10
    for selector in (".heat .right-8", ".heat .right-1", ".heat .no", ".learning .legend span"):
        assert contrast(tab, selector) >= 4.5, selector
    table = tab.locator("table.sortable").first
    table.locator("thead th").nth(2).locator("button").click()
    assert table.locator("tbody tr").last.locator("td").nth(1).inner_text() == NOTHING


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_stands_beyond_the_edge_in_either_colour(opened, news, language, scheme, width):
    made = ftbridge.report("news-lora", language=language)
    tab = opened(made.html, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    dark = "rgb(20, 23, 29)"
    assert (tab.evaluate("getComputedStyle(document.body).backgroundColor") == dark) == (scheme == "dark")
    tab.locator("#colours").click()
    assert (tab.evaluate("getComputedStyle(document.body).backgroundColor") == dark) == (scheme == "light")
    for selector in (".verdict p", ".cards dt", ".bar .name", ".ok", ".no", ".soft"):
        assert contrast(tab, selector) >= 4.5, selector


def contrast(tab, selector):
    """Return the contrast of a text with what is behind it, as WCAG has it."""
    return tab.evaluate(
        """selector => {
            const numbers = text => text.match(/[\\d.]+/g).map(Number);
            const light = rgb => {
                const [r, g, b] = rgb.map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const element = document.querySelector(selector);
            const layers = [];
            for (let behind = element; behind; behind = behind.parentElement) {
                layers.push(numbers(getComputedStyle(behind).backgroundColor));
                if (layers.at(-1).length === 3) { break; }
            }
            const paper = layers.reduceRight((under, [r, g, b, alpha = 1]) =>
                [r, g, b].map((over, at) => alpha * over + (1 - alpha) * under[at]), [255, 255, 255]);
            const [a, b] = [numbers(getComputedStyle(element).color), paper]
                .map(colour => light(colour.slice(0, 3))).sort((x, y) => y - x);
            return (a + 0.05) / (b + 0.05);
        }""",
        selector,
    )


@pytest.mark.slow
def test_on_paper_it_is_light_without_controls_and_with_all_details(opened, news):
    tab = opened(ftbridge.report("news-lora", language="en").html, color_scheme="dark")
    tab.emulate_media(media="print")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    for selector in (".controls", ".filters", "nav"):
        assert not tab.locator(selector).first.is_visible()
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.evaluate("document.querySelectorAll('details:not([open])').length") == 0
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.evaluate("document.querySelectorAll('details:not([open])').length") > 0
    assert tab.pdf().startswith(b"%PDF")


@pytest.mark.slow
def test_without_scripts_all_answers_are_there(opened, news):
    tab = opened(ftbridge.report("news-lora", language="en").html, java_script_enabled=False)
    assert tab.locator(".answers tbody tr").count() == 60
    assert not tab.locator(".filters").is_visible()


@pytest.mark.slow
def test_a_hundred_classes_fit(opened, news):
    labels = [f"class {at} {'long name ' * (at % 6)}" for at in range(100)]
    evaluation(news.folder / "many", draw(800, labels, 0.7, 5), labels=labels, before=draw(800, labels, 0.69, 8))
    made = ftbridge.report(news.folder / "many", language="en")
    assert made.html.stat().st_size <= MOST_BYTES
    tab = opened(made.html, viewport={"width": 360, "height": 800})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    assert tab.locator(".heat tbody tr").count() == 21


@pytest.mark.slow
def test_the_pictures_of_the_docs_can_be_taken(tmp_path):
    if not shutil.which("chromium"):
        pytest.skip("there is no `chromium` here (Debian: apt-get install chromium)")
    # A browser of its own cannot be started beside the one of the session.
    code = "import sys, pathlib; from tests.evaluation.report import pictures; pictures.take(pathlib.Path(sys.argv[1]))"
    in_a_process = subprocess.run(
        [sys.executable, "-c", code, tmp_path], cwd=pictures.DOCS.parent, check=False, capture_output=True, text=True
    )
    assert in_a_process.returncode == 0, in_a_process.stderr
    for name in pictures.PICTURES:
        assert (tmp_path / name).stat().st_size > 10_000
        assert (pictures.DOCS / name).stat().st_size <= 150_000
