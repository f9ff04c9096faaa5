"""Small chat templates, each with one habit of a published one, and what a training learns by them."""

from importlib.resources import files
from typing import Any

Message = dict[str, Any]


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def assistant(content: str, **more: Any) -> Message:
    return {"role": "assistant", "content": content, **more}


SYSTEM = {"role": "system", "content": "Be brief."}
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As Qwen 3: thoughts are kept in the last answer alone, and an empty one stands in the prompt where none is wanted.
FORGETS_THOUGHTS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n{{ m.reasoning_content or '' }}\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
# As DeepSeek R1: the prompt opens a thought, and no answer keeps its own.
OPENS_THOUGHT = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<|assistant|>{{ m.content }}<|end|>"
    "{% else %}<|{{ m.role }}|>{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}"
)
# As GLM 4.7 and DeepSeek V3.1: an answer without a thought begins with the end of one, which the prompt may open.
ENDS_THOUGHT = (
    "{% for m in messages %}<|{{ m.role }}|>{{ '</think>' if m.role == 'assistant' }}{{ m.content }}"
    "{{ '<|end|>' if m.role == 'assistant' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{{ '<think>' if thinking else '</think>' }}{% endif %}"
)
# As Nemotron 3: the same with both marks, and lines of their own in the prompt alone.
ENDS_THOUGHT_AT_ONCE = ENDS_THOUGHT.replace("'</think>'", "'<think></think>'").replace("'<think>' if", "'<think>\n' if")
# As Hunyuan and Gemma 4: the empty thought stands in the prompt alone.
ASKS_WITHOUT_THOUGHT = (
    CHATML + "{% if add_generation_prompt and not enable_thinking %}<|channel>thought\n<channel|>{% endif %}"
)
# As ERNIE 4.5: the prompt ends with a blank, which a tokenizer would join with the answer.
ENDS_WITH_BLANK = (
    "{% for m in messages %}{% if m.role == 'user' %}User: {{ m.content }}\n"
    "{% else %}Assistant: {{ m.content }}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Assistant: {% endif %}"
)
# As GLM 4: nothing ends an answer but the next question.
NO_STOP = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content | trim }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# As GLM 4, with the tokens that begin its texts.
GLM = "[gMASK]<sop>" + NO_STOP
# As Qwen 2.5: without a system prompt its own is written.
DEFAULT_SYSTEM = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a parrot.<|im_end|>\n{% endif %}" + CHATML
)
# As Phi 3: another token comes after the one that stops.
TWO_STOPS = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
# As gpt-oss: the last answer ends otherwise than those before it.
LAST_ENDS_OTHERWISE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}"
    "{{ '<|return|>' if loop.last and m.role == 'assistant' else '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# As Gemma 3 and Llama 2: the system text stands within the first question, and spaces around an answer.
SYSTEM_INSIDE = (
    "{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}[INST] "
    "{% if loop.first and messages[0].role == 'system' %}{{ messages[0].content }}\n{% endif %}{{ m.content }} [/INST]"
    "{% else %} {{ m.content | trim }} </s>{% endif %}{% endfor %}"
)
# As Mistral 0.3: the system text stands within the last question, so that what is asked alone has it.
SYSTEM_LAST = (
    "{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}[INST] "
    "{% if loop.last and messages[0].role == 'system' %}{{ messages[0].content }}\n{% endif %}{{ m.content }}[/INST]"
    "{% else %} {{ m.content }}</s>{% endif %}{% endfor %}"
)
TOOLS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for call in m.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ONE = [user("Why?"), assistant("Because.")]
THREE = [user("1?"), assistant("eins"), user("2?"), assistant("zwei"), user("3?"), assistant("drei")]
THOUGHTS = [
    user("1+1?"), assistant("2", reasoning_content="I count."),
    user("2+2?"), assistant("4", reasoning_content="I add."),
]  # fmt: skip
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Bern"}}}
CALLS = [user("Sun?"), assistant("", tool_calls=[CALL]), {"role": "tool", "content": "sunny"}, assistant("Yes.")]

NO_ROLES = "{{ messages[0].content }}:{% if not add_generation_prompt %}{{ messages[1].content }}{% endif %}"
SHIPPED = {
    name: files("ftbridge.templates").joinpath("chat", f"{name}.jinja").read_text("utf-8")
    for name in ("alpaca", "chatml", "plain", "vicuna")
}
# Template, end token, further stop tokens, messages, and the texts that each sample trains.
CASES: dict[str, tuple[str, str, list[str], list[Message], list[list[str]]]] = {
    "one turn": (CHATML, "<|im_end|>", [], ONE, [["Because.<|im_end|>"]]),
    "system": (CHATML, "<|im_end|>", [], [SYSTEM, *ONE], [["Because.<|im_end|>"]]),
    "three turns": (CHATML, "<|im_end|>", [], THREE, [[f"{each}<|im_end|>" for each in ("eins", "zwei", "drei")]]),
    "spaces and lines of an answer": (
        CHATML,
        "<|im_end|>",
        [],
        [user("?"), assistant(" a\n\n")],
        [[" a\n\n<|im_end|>"]],
    ),
    "answer that its question holds": (CHATML, "<|im_end|>", [], [user("a a"), assistant("a")], [["a<|im_end|>"]]),
    "letters of many bytes": (CHATML, "<|im_end|>", [], [user("你"), assistant("好😀")], [["好😀<|im_end|>"]]),
    "one turn left out": (
        CHATML,
        "<|im_end|>",
        [],
        [user("1?"), assistant("eins", train=False), *THREE[2:4]],
        [["zwei<|im_end|>"]],
    ),
    "last turn left out": (
        CHATML,
        "<|im_end|>",
        [],
        [*THREE[:2], user("2?"), assistant("zwei", train=False)],
        [["eins<|im_end|>"]],
    ),
    "empty answer": (CHATML, "<|im_end|>", [], [user("1?"), assistant(" \n")], []),
    "answer that is a thought": (FORGETS_THOUGHTS, "<|im_end|>", [], [user("1?"), assistant("<think>hm</think> ")], []),
    "answer of which a template leaves nothing": (
        CHATML.replace("m.content", "m.content.split('</think>')[-1] | trim"),
        "<|im_end|>",
        [],
        [user("1?"), assistant("hm</think>\n"), *THREE[2:4]],
        [["zwei<|im_end|>"]],
    ),
    "forgotten thoughts": (
        "{% set enable_thinking = true %}" + FORGETS_THOUGHTS,
        "<|im_end|>",
        [],
        THOUGHTS,
        [["<think>\nI count.\n</think>\n\n2<|im_end|>"], ["<think>\nI add.\n</think>\n\n4<|im_end|>"]],
    ),
    "no thoughts": (
        FORGETS_THOUGHTS,
        "<|im_end|>",
        [],
        THREE,
        [[f"{each}<|im_end|>"] for each in ("eins", "zwei", "drei")],
    ),
    "opened thought": (
        OPENS_THOUGHT,
        "<|end|>",
        [],
        THOUGHTS,
        [["I count.\n</think>\n\n2<|end|>"], ["I add.\n</think>\n\n4<|end|>"]],
    ),
    "opened and empty thought": (OPENS_THOUGHT, "<|end|>", [], ONE, [["\n</think>\n\nBecause.<|end|>"]]),
    "thoughts that are off": (
        FORGETS_THOUGHTS,
        "<|im_end|>",
        [],
        THOUGHTS,
        [["2<|im_end|>"], ["4<|im_end|>"]],
    ),
    "thoughts of no template": (
        CHATML,
        "<|im_end|>",
        [],
        THOUGHTS,
        [["<think>\nI count.\n</think>\n\n2<|im_end|>"], ["<think>\nI add.\n</think>\n\n4<|im_end|>"]],
    ),
    "thought of no template, and one turn without": (
        CHATML,
        "<|im_end|>",
        [],
        [*THOUGHTS[:2], *THREE[2:4]],
        [["<think>\nI count.\n</think>\n\n2<|im_end|>"], ["zwei<|im_end|>"]],
    ),
    "thoughts of no template, switched off": (
        "{%- if thinking is not defined %}{%- set thinking = false %}{%- endif -%}{{ 'Think. ' if thinking }}" + CHATML,
        "<|im_end|>",
        [],
        THOUGHTS,
        [["2<|im_end|>", "4<|im_end|>"]],
    ),
    "ended thought": (ENDS_THOUGHT, "<|end|>", [], THREE[:4], [["eins<|end|>", "zwei<|end|>"]]),
    "opened thought that is ended at once": (
        "{% set thinking = true %}" + ENDS_THOUGHT,
        "<|end|>",
        [],
        [*THOUGHTS[:2], *THREE[2:4]],
        [["I count.</think>2<|end|>"], ["</think>zwei<|end|>"]],
    ),
    "opened thought on lines of its own": (
        "{% set thinking = true %}" + ENDS_THOUGHT_AT_ONCE,
        "<|end|>",
        [],
        [*THOUGHTS[:2], *THREE[2:4]],
        [["I count.\n</think>2<|end|>"], ["\n</think>zwei<|end|>"]],
    ),
    "thought in the prompt alone": (
        ASKS_WITHOUT_THOUGHT,
        "<|im_end|>",
        [],
        THREE[:4],
        [["eins<|im_end|>"], ["zwei<|im_end|>"]],
    ),
    "question that is a part of the tags": (
        ASKS_WITHOUT_THOUGHT,
        "<|im_end|>",
        [],
        [user("n"), assistant("<"), user("|"), assistant("n")],
        [["<<|im_end|>"], ["n<|im_end|>"]],
    ),
    "call behind a thought in the prompt alone": (
        TOOLS + ASKS_WITHOUT_THOUGHT.removeprefix(CHATML),
        "<|im_end|>",
        [],
        CALLS[:2],
        [['<tool_call>{"name": "weather", "arguments": {"city": "Bern"}}</tool_call><|im_end|>']],
    ),
    "blank before an answer": (ENDS_WITH_BLANK, "</s>", [], THREE[2:4], [["zwei</s>"]]),
    "blank before each answer": (ENDS_WITH_BLANK, "</s>", [], THREE[:4], [["eins</s>"], ["zwei</s>"]]),
    "newline before an answer": (
        CHATML,
        "<|im_end|>",
        [],
        [user("?"), assistant("\n\nzwei")],
        [["\n\nzwei<|im_end|>"]],
    ),
    "system in the last question": (SYSTEM_LAST, "</s>", [], [SYSTEM, *THREE[:4]], [[" eins</s>"], [" zwei</s>"]]),
    "no stop": (NO_STOP, "<|eos|>", ["<|user|>"], ONE, [["\nBecause.<|user|>"]]),
    "no stop but between turns": (
        NO_STOP,
        "<|eos|>",
        ["<|user|>"],
        THREE,
        [[f"\n{each}<|user|>" for each in ("eins", "zwei", "drei")]],
    ),
    "no stop but the end token": (NO_ROLES, "<|eos|>", [], ONE, [["Because.<|eos|>"]]),
    "two stops": (TWO_STOPS, "<|eos|>", ["<|end|>"], THREE, [[f"{each}<|end|>" for each in ("eins", "zwei", "drei")]]),
    "last ends otherwise": (
        LAST_ENDS_OTHERWISE,
        "<|return|>",
        [],
        THREE,
        [[f"{each}<|return|>"] for each in ("eins", "zwei", "drei")],
    ),
    "system inside": (
        SYSTEM_INSIDE,
        "</s>",
        [],
        [SYSTEM, *THREE],
        [[f" {each} </s>" for each in ("eins", "zwei", "drei")]],
    ),
    "the shipped alpaca": (SHIPPED["alpaca"], "</s>", [], [SYSTEM, *THREE], [["eins</s>", "zwei</s>", "drei</s>"]]),
    "the shipped chatml": (SHIPPED["chatml"], "<|im_end|>", [], ONE, [["Because.<|im_end|>"]]),
    "the shipped plain": (SHIPPED["plain"], "<|endoftext|>", [], [SYSTEM, *ONE], [["Because.<|endoftext|>"]]),
    "the shipped vicuna": (SHIPPED["vicuna"], "</s>", [], THREE, [[" eins</s>", " zwei</s>", " drei</s>"]]),
    "tool calls": (
        TOOLS,
        "<|im_end|>",
        [],
        CALLS,
        [['<tool_call>{"name": "weather", "arguments": {"city": "Bern"}}</tool_call><|im_end|>', "Yes.<|im_end|>"]],
    ),
}
NO_CONTINUATION = "the prompt that it writes for an answer is not how it begins the answer itself"
REFUSED: dict[str, tuple[str, list[Message], str]] = {
    "raises": ("{{ raise_exception('System role not supported') }}", ONE, "System role not supported"),
    "drops the system text": (
        SYSTEM_INSIDE.replace("messages[0].content }}\n", "'' }}"),
        [SYSTEM, *ONE],
        "it leaves the system text out",
    ),
    "reorders turns": (
        "{% for m in messages | reverse %}{{ m.content }};{% endfor %}",
        THREE,
        "it moves the assistant's turn `eins`",
    ),
    "drops a turn": ("{{ messages[-1].content }}", ONE, "it leaves out the user's turn `Why?`"),
    "has no tool calls": (CHATML, CALLS, "it writes no tool calls"),
    "continues no prompt of its own": (CHATML.replace("assistant\n", "model\n"), ONE, NO_CONTINUATION),
    "runs code": ("{{ ''.__class__.__mro__ }}", ONE, "access to attribute '__class__' of 'str' object is unsafe."),
    "asks for what is not there": ("{{ messages[9].content.text }}", ONE, "list object has no element 9"),
    "asks for a name that nobody has": ("{{ nobody.knows }}", ONE, "'nobody' is undefined"),
    "includes a file": ("{% include '/etc/hosts' %}", ONE, "no loader for this environment specified"),
    "runs in circles": (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        ONE,
        "it takes more than 4 seconds",
    ),
    "calls itself": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", ONE, "maximum recursion depth exceeded"),
    "has a range without an end": (
        "{% for a in range(10**9) %}{% endfor %}",
        ONE,
        "Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).",
    ),
    "writes without an end": ("{{ 'a' * 10**11 }}", ONE, "it takes more memory than any conversation needs"),
    "doubles without an end": (
        "{% set n = namespace(text='a') %}{% for a in range(60) %}{% set n.text = n.text + n.text %}{% endfor %}",
        ONE,
        "it takes more memory than any conversation needs",
    ),
    "writes half a character": (
        "{{ '\\ud800' }}" + CHATML,
        ONE,
        "'utf-8' codec can't encode character '\\ud800' in position 0: surrogates not allowed",
    ),
}
