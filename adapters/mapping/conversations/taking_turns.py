"""Messages, one after another, put together to turns: who may speak next, and how a conversation may end."""

from ftbridge.adapters.mapping.conversations.roles import ASSISTANT, CALL, SYSTEM, TOOL, USER
from ftbridge.adapters.values import BadValueError
from ftbridge.core.records import Beside, Observation, Turn, turn_of
from ftbridge.language import gettext as _

# Who is due after whom; the last one is named where somebody else speaks.
_DUE = {"": (SYSTEM, USER), SYSTEM: (USER,), USER: (CALL, ASSISTANT), TOOL: (TOOL, CALL, ASSISTANT)}
_WHOSE = {TOOL: _("a tool's"), CALL: _("the assistant's")}


class TurnsSoFar:
    """The turns of a conversation as its messages come; a call of tools is an answer of its own."""

    def __init__(self) -> None:
        self.system = ""
        self.turns: list[Turn] = []
        self._last, self._question = "", ""
        self._observations: list[Observation] = []

    @property
    def due(self) -> tuple[str, ...]:
        """Return the roles of which one must be next, the likeliest last."""
        if self._last == ASSISTANT:
            return (TOOL,) if self.turns[-1].calls else (USER,)
        return _DUE[self._last]

    def refuse_out_of_turn(self, role: str) -> None:
        """Raise BadValueError where it is not this role's turn."""
        if role not in self.due:
            whose, due = (_WHOSE.get(each, _("the {each}'s").format(each=each)) for each in (role, self.due[-1]))
            raise BadValueError(_("is {whose}, where {due} is expected").format(whose=whose, due=due))

    def add_text(self, role: str, text: str) -> None:
        """Take in what the system or the user says."""
        if role == SYSTEM:
            self.system = text
        else:
            self._question = text
        self._last = role

    def add_observation(self, observation: Observation) -> None:
        """Take in what a tool says."""
        self._observations.append(observation)
        self._last = TOOL

    def add_answer(self, text: str, *, train: bool, thought: str, calls: str) -> None:
        """Take in an answer."""
        beside = Beside(train, thought, calls, tuple(self._observations))
        self.turns.append(turn_of(self._question, "", text, beside))
        self._question, self._last = "", ASSISTANT
        self._observations.clear()

    def finish(self) -> tuple[str, list[Turn]]:
        """Return system prompt and turns; raises BadValueError where the last word is not an answer."""
        if self._last in {"", SYSTEM}:
            raise BadValueError(_("holds no question and answer"))
        if self._last != ASSISTANT:
            raise BadValueError(
                _("ends with the user's message") if self._last == USER else _("ends with a tool's answer")
            )
        return self.system, self.turns
