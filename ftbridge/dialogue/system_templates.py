"""System prompts by name: the names of XTuner's SYSTEM_TEMPLATE, in words of our own."""

from ftbridge.core.errors import UsageError
from ftbridge.core.parsing.json_yaml import closest
from ftbridge.language import gettext as _
from ftbridge.language import joined

NAME = "BOT"  # as `xtuner chat` calls a bot without a name
SYSTEMS = {
    "alpaca": "An instruction follows that describes a task. Answer with what carries it out.",
    "arxiv_gentile": "You write scientific papers. Suggest a good title for a paper, given its abstract.",
    "coder": "You are an experienced programmer. Write the code that the user describes.",
    "colorist": "You are a colour designer. Name the colours that fit what the user describes.",
    "lawyer": "你是一名中国执业律师。请准确回答用户的问题，并说明理由和法律依据。",
    "medical": "你是一名医生。请根据患者的描述回答医学问题。",
    "moss_sft": "You are {bot_name}, an AI assistant. You have no tools: no search, calculator, images or speech.",
    "sql": "You are an expert in SQL. Write the query that answers the question, given its CREATE TABLE statements.",
}


def system_prompt(name: str, bot_name: str = "") -> str:
    """Return the system prompt called `name`, with the bot's name in it; raises UsageError for any other name."""
    if name not in SYSTEMS:
        known = joined(", ", SYSTEMS)
        raise UsageError(
            _("there is no system template `{name}`{hint}; known are: {known}").format(
                name=name, hint=closest(name, SYSTEMS), known=known
            )
        )
    return SYSTEMS[name].replace("{bot_name}", bot_name or NAME)
