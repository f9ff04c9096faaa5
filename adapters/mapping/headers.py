"""The headers of fields in English and Chinese, and those of columns that cannot be trained on."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from ftbridge.language import to_translate

# Headers that surely mean a field, as `normalize_header` writes them; the fields are shown in this order. Weaker ones
# stand in TIERS.
HEADERS = {
    "system": (
        *("system", "system prompt", "system instruction", "systeminstruction", "meta instruction"),
        *("系统", "系统提示", "系统提示词", "系统消息"),
    ),
    "instruction": (
        *(
            "instruction",
            "question",
            "questions",
            "prompt",
            "query",
            "q",
            "ask",
            "problem",
            "user question",
            "user message",
        ),
        *("user input", "customer message", "inquiry", "definition", "问题", "提问", "问", "问句", "问法", "指令"),
        *("提示词", "用户问题", "题目", "题干", "试题", "咨询", "问题描述", "问题标题"),
    ),
    "input": ("input", "inputs", "context", "输入", "上下文", "补充输入"),
    "thought": (
        *("reasoning", "reasoning content", "reasoning text", "reasoning process", "reasoning steps"),
        *("reasoning trace", "reasoning chain", "reasoning trajectory", "think", "thinking", "thinking content"),
        *("thinking process", "thinking trace", "thinking trajectory", "thought", "thoughts", "thought process"),
        *("cot", "chain of thought", "chain of thoughts", "思考", "思考过程", "思考内容", "深度思考"),
        *("思维链", "思维过程", "推理", "推理过程", "推理链", "推理步骤", "推理内容"),
    ),
    "output": (
        *("output", "answer", "answers", "ans", "response", "reply", "a", "completion", "solution", "targets"),
        *(
            "ground truth",
            "assistant message",
            "答案",
            "回答",
            "答",
            "答句",
            "回复",
            "输出",
            "答复",
            "解答",
            "应答",
            "解决方案",
        ),
        *("解决办法", "解决方法"),
    ),
    "history": ("history", "历史", "历史对话", "对话历史"),
}
# Headers of texts: the question where there is none, and the input where there is one.
TEXT_HEADERS = {
    *("text", "sentence", "content", "review", "comment", "tweet", "tweet text", "document", "article", "passage"),
    *(
        "paragraph",
        "story",
        "dialogue",
        "body",
        "premise",
        "claim",
        "aspect",
        "utterance",
        "文本",
        "内容",
        "评论",
        "句子",
        "正文",
        "评价",
        "文章",
    ),
    *("新闻", "原文", "段落", "材料", "阅读材料", "背景", "背景材料", "参考资料", "资料", "文档"),
}
# Headers of a text's own title, which without a question may be a part of it.
TITLE_HEADERS = {"title", "subject", "标题"}
# Two texts about which one label is told.
TEXT_PAIRS = [("premise", "hypothesis"), ("text", "text pair"), ("前提", "假设")]
TEXT_PAIRS += [
    (f"{noun}{one}", f"{noun}{two}")
    for noun in ("text", "text ", "sentence", "sentence ", "question", "question ", "文本", "句子", "问题")
    for one, two in (("1", "2"), ("a", "b"), ("一", "二"))
]
# Headers of what is written about a text, and of the class that it is in.
TARGETS = {"target", "summary", "highlights", "headline", "摘要", "总结", "译文", "翻译"}
NAMED_CLASSES = {
    "label text",
    "text label",
    "label name",
    "label desc",
    "label description",
    "标签描述",
    "标签名",
    "标签名称",
    "类别名称",
}
CLASSES = {
    *(
        "label",
        "labels",
        "class",
        "category",
        "sentiment",
        "intent",
        "topic",
        "stance",
        "emotion",
        "polarity",
        "tag",
        "gold label",
    ),
    *("标签", "类别", "分类", "情感", "意图", "主题", "立场", "情绪", "极性"),
}
# Classes that are the answer to a text even where it is called a question.
INTENTS = {"intent", "sentiment", "emotion", "意图", "情感", "情绪"}
# The better ones first; they count where no better header is there.
TIERS = {"instruction": (TEXT_HEADERS,), "output": (NAMED_CLASSES, CLASSES | TARGETS)}
# Words before a question, a thought or an answer that say whose it is, and after it that it is text.
QUALIFIED = {
    "instruction": re.compile(
        r"(?:(?:user|customer|client|patient|student|human|faq|original|user's|customer's) |"
        r"faq|qa|用户|客户|顾客|买家|访客|患者|病人|学生|学员|读者|网友|常见|标准|原始)?"
        r"(questions?|query|prompt|inquiry|problem|问题|提问|问句|问法|咨询|问)(?: text|内容|文本|正文)?"
    ),
    "thought": re.compile(
        r"(?:complex|long|short|full|model|assistant|deepseek|deepseek r1|r1|qwen|gpt|o1|gemini|claude|answer|response)"
        rf" ({'|'.join(HEADERS['thought'])})"
    ),
    "output": re.compile(
        r"(?:(?:std|standard|reference|ref|correct|right|best|gold|golden|expected|ideal|target|ground truth|assistant|"
        r"bot|agent|ai|gpt|chatgpt|model|human|doctor|expert|official|faq|support|approved|final) |"
        r"faq|qa|ai|gpt|chatgpt|标准|参考|正确|最佳|人工|客服|医生|专家|老师|官方|推荐|模型|机器人|助手|商家|卖家|回答者){0,2}"
        r"(answers?|response|reply|output|completion|solution|答案|回答|答复|回复|解答|应答|答)"
        r"(?: text|内容|文本|正文)?"
    ),
}
# Headers in traditional characters are read as those in simplified ones.
SIMPLIFIED = str.maketrans(
    "問題詞戶統輸補復覆參標準確歷對話內評論價聞籤簽稱類別圖譯諮詢幹試當應決辦顧買學員讀網見專師機賣",
    "问题词户统输补复复参标准确历对话内评论价闻签签称类别图译咨询干试当应决办顾买学员读网见专师机卖",
)
# Columns that must be empty, and what they hold.
UNTRAINABLE = {
    "tools": ("tools", "functions"),
    "images, sound or video": ("image", "images", "video", "videos", "audio", "audios"),
}
_ANSWERS = "(?:answers?|responses?|outputs?|completions?|messages|repl(?:y|ies)|conversations?|text|score|id)"
_BETTER = (
    "chosen|rejected|preferred|dispreferred|accepted|accept|reject|better|worse|worst|bad|wrong|incorrect|negative|"
    "losing|winning"
)
PREFERRED = re.compile(
    rf"(?:{_ANSWERS} )?(?:chosen|rejected|preferred|dispreferred)(?: {_ANSWERS})*|{_ANSWERS} (?:{_BETTER})|"
    rf"(?:{_BETTER})(?: {_ANSWERS})+|(?:safer|better) response id|preferences?|winner|loser|"
    "偏好|(?:偏好|拒绝|优选|劣选|好|差|坏|错误|较好|较差|更好|更差)(?:的)?(?:回答|答案|回复)"
)
# Of these, what says that an answer is the better one.
CHOSEN = re.compile(
    r".*\b(?:chosen|preferred|accepted|accept|better|winning)\b.*|(?:偏好|优选|好|较好|更好)(?:的)?(?:回答|答案|回复)"
)
REASONING = re.compile(
    r"(?:.* )?(?:reasoning|think(?:ing)?|thoughts?|cot|rationales?|chain of thoughts?|inner monologue|scratchpad)"
    r"(?: (?:content|text|process|steps|trace|chain|trajector(?:y|ies)))?|"
    r"(?:深度)?(?:思维|思考|推理)(?:链|过程|内容|步骤)?|思路"
)
LOSS_FLAG = re.compile(
    r"(?:output with )?loss(?: weights?| scale| masks?)?|train(?:ing|able|ed)?|(?:loss |train )?masks?|weights?|"
    r"is train(?:ed|able)|(?:no|skip|ignore|exclude|without|disable) (?:loss|train(?:ing)?)|untrain(?:ed|able)|"
    "是否(?:参与|用于)?(?:训练|学习)|(?:参与|用于)训练"
)
# What a source calls a column without a header.
NAMELESS = re.compile(r"\[[A-Z]{1,3}\]")
# What in brackets behind a header makes another column of it.
DETAIL = re.compile(
    r"\W*(?:id|ids|no|nr|index|number|count|length|len|type|source|link|url|date|time|score|author|lang|language|"
    r"编号|序号|来源|链接|日期|时间|类型|长度|字数|分数|得分|作者|数量)\W*"
)
# A longer cell is text, and no header is looked for in it.
LONGEST_HEADER = 60
HAN, OTHERS = "㐀-鿿", "A-Za-z"


def columns_by_field(columns: Iterable[str]) -> dict[str, list[str]]:
    """Return the columns that fit each field, by their headers alone.

    Beside a question, other texts are its input; without one, the first of a known pair of texts is the question.
    """
    headers = {column: normalize_header(column) for column in columns}
    found: dict[str, list[str]] = {}
    for field in HEADERS:
        if names := _best_columns(field, headers):
            found[field] = names
    texts = [column for column in headers if headers[column] in TEXT_HEADERS]
    if has_question(found.get("instruction", ())):
        if "output" in found and texts:
            found["input"] = found.get("input", []) + texts
        return found
    return found | _question_without_header(found, headers, texts)


def _best_columns(field: str, headers: Mapping[str, str]) -> list[str]:
    """Return the columns whose headers are of the best tier that any of them is in; [] for none."""
    for tier in (HEADERS[field], *TIERS.get(field, ())):
        if names := [column for column, header in headers.items() if header in tier]:
            return names
    return []


def _question_without_header(
    found: Mapping[str, list[str]], headers: dict[str, str], texts: Sequence[str]
) -> dict[str, list[str]]:
    """Return the columns of instruction and input where no header asks."""
    known = {headers[column]: column for column in reversed(headers)}
    if pair := next((pair for pair in TEXT_PAIRS if known.keys() >= set(pair)), None):
        rest = [column for column in texts if headers[column] not in pair]
        return {"instruction": [known[pair[0]]], "input": [known[pair[1]], *found.get("input", []), *rest]}
    if "instruction" not in found:
        return {}
    # A text and an input, or a title: either may be the question.
    titles = [column for column in headers if headers[column] in TITLE_HEADERS and "output" in found]
    return {"instruction": [*found["instruction"], *found.get("input", []), *titles]}


def fitting_first(columns: Iterable[str], field: str) -> list[str]:
    """Return the columns in their order, those before the others whose headers fit a field."""
    return sorted(columns, key=lambda column: field not in columns_by_field([column]))


def has_question(columns: Iterable[str]) -> bool:
    """Tell whether some column is a question by its header, not merely a text."""
    return any(normalize_header(column) in HEADERS["instruction"] for column in columns)


def has_question_and_answer(columns: Iterable[str]) -> bool:
    """Tell whether the headers of `columns` fit a question, or its input, and an answer."""
    by_field = columns_by_field(columns)
    return "output" in by_field and not by_field.keys().isdisjoint({"instruction", "input"})


def untrainable_columns(columns: Iterable[str], *, decided: bool = False) -> dict[str, str]:
    """Return what the columns hold that must be empty, by their headers; fewer where the user has `decided`."""
    patterns = {} if decided else {to_translate("preferences between answers"): PREFERRED, "reasoning": REASONING}
    untrainable = {}
    for column in columns:
        name = normalize_header(column)
        contents = [content for content, headers in UNTRAINABLE.items() if name in headers]
        contents += [content for content, pattern in patterns.items() if pattern.fullmatch(name)]
        if contents:
            untrainable[column] = contents[0]
    return untrainable


@lru_cache(4096)
def normalize_header(column: str) -> str:
    """Return a header as the tables above have it: in lower case, simplified characters and the usual width.

    `_` and `-` are blanks, and between Chinese characters blanks mean nothing (`问　题`). Left out are marks that
    nobody sees, a number before it (`1.问题`), what stands in brackets behind it (`Question (required)`), a colon at
    its end, and the letter that the source gave to one that occurs twice (`Answer [D]`). `问题 Question` is either,
    and `客服回复` is a reply, since whose it is makes no difference.
    """
    if len(column) > LONGEST_HEADER or NAMELESS.fullmatch(column):
        return column
    bare = _without_additions(column)
    header = _with_single_blanks(bare)
    return _without_owner(header) or _header_in_two_languages(bare) or header


def _without_additions(column: str) -> str:
    """Return a header in lower case without its letter, invisible marks, what is in brackets, and its number."""
    column = re.sub(r" \[[A-Z]+\]$", "", column)
    header = unicodedata.normalize("NFKC", column).lower().translate(SIMPLIFIED)
    header = "".join(char for char in header if unicodedata.category(char) != "Cf")
    aside = re.search(r"(?<=.)(?:\((.*?)\)|\[(.*?)\]|【(.*?)】|\{(.*?)\})\W*$", header)
    if aside and not DETAIL.fullmatch(next(filter(None, aside.groups()), "")):
        header = header[: aside.start()]
    return re.sub(rf"^\W*(?:\d{{1,2}}(?:\s*[.、):]\s*(?=\D)|(?=[{HAN}]))|[一二三四五六七八九十]+、)", "", header)


def _with_single_blanks(header: str) -> str:
    """Return a header with one blank between words, none between Chinese characters, and no marks at its ends."""
    spaced = " ".join(re.split(r"[\s_-]+", header)).strip(" :*?.。\"'()[]【】<>《》「」")
    return re.sub(rf"(?<=[{HAN}]) (?=[{HAN}])", "", spaced)


def _without_owner(header: str) -> str:
    """Return a header of the tables above, or the one that is left without whose it is (`客服回复`); else ""."""
    if _field_of_header(header):
        return header
    return next((match[1] for pattern in QUALIFIED.values() if (match := pattern.fullmatch(header))), "")


def _header_in_two_languages(bare: str) -> str:
    """Return the first part of `问题 Question` or `question/query` where all fit the same field; else ""."""
    parts = re.split(rf"[/|\n]|(?<=[{HAN}])\s*(?=[{OTHERS}])|(?<=[{OTHERS}])\s*(?=[{HAN}])", bare)
    parts = [_with_single_blanks(part) for part in parts if part.strip()]
    headers = [_without_owner(part) if len(part) > 1 or part > "z" or "/" in bare else "" for part in parts]
    if not headers or not all(headers):
        return ""
    return headers[0] if len({_field_of_header(header) for header in headers}) == 1 else ""


def _field_of_header(header: str) -> str:
    """Return the field that a normalized header fits, "" for none."""
    best = next((field for field, names in HEADERS.items() if header in names), "")
    return best or next((field for field, tiers in TIERS.items() for tier in tiers if header in tier), "")
