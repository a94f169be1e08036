"""Conditions in CEL, behind one small interface: compiled once against declared variables, then judged as pure functions.

Whatever cannot be judged (a label that the host does not have, a division by zero, a finding without the field) is no match and
says so. Each term of a top-level `&&` chain is judged by itself, so that people see which one decided.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from cel_expr_python import cel

from ..core.policy import Match, MatchAnswer
from .text import did_you_mean, shown

CONDITION_CHARS_MAX = 4096
LABELS_KIND = "labels"

_TYPES = {
    "text": cel.Type.STRING,
    "integer": cel.Type.INT,
    "duration_ms": cel.Type.INT,
    "size_bytes": cel.Type.INT,
    "number": cel.Type.DOUBLE,
    "flag": cel.Type.BOOL,
    LABELS_KIND: cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
}
_WORDS = {
    "STRING": "text",
    "INT": "a whole number",
    "DOUBLE": "a number",
    "BOOL": "true or false",
    "MAP": "a map",
    "LIST": "a list",
}
_SAMPLES: dict[str, object] = {"text": "", "number": 0.0, "flag": False, LABELS_KIND: {}}

_FAULT = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")
_OVERLOAD = re.compile(r"found no matching overload for '([^']*)' applied to '\(?([^')]*)\)?'")
_MISSING_KEY = re.compile(r'Key not found in map : "([^"]*)"')
_MISSING_VALUE = re.compile(r'No value with name "([^"]*)"')
# Errors that no other values could cure.
_HOPELESS = ("regular expression", "budget")
_STRING = re.compile(
    r'[rR]"""[\s\S]*?"""|[rR]\'\'\'[\s\S]*?\'\'\'|[rR]"[^"\n]*"|[rR]\'[^\'\n]*\''
    r'|"""(?:\\[\s\S]|[^\\])*?"""|\'\'\'(?:\\[\s\S]|[^\\])*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    r"|//[^\n]*"
)
_NAME = re.compile(r"[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*)*")


@dataclass(frozen=True, slots=True)
class Variables:
    """What a condition may speak of: name to kind. `about` says whose findings they are, for messages."""

    kinds: tuple[tuple[str, str], ...]
    about: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a condition's text, and at which character."""

    offset: int
    text: str


class ConditionError(Exception):
    """A condition that cannot be compiled."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        self.faults = faults
        super().__init__("; ".join(fault.text for fault in faults))


@dataclass(frozen=True, slots=True)
class _Term:
    text: str
    names: tuple[str, ...]
    program: cel.Expression


@dataclass(frozen=True, slots=True)
class Condition:
    """One compiled condition."""

    text: str
    _env: cel.Env
    _kinds: Mapping[str, str]
    _terms: tuple[_Term, ...]

    @classmethod
    def compile(cls, text: str, variables: Variables) -> Condition:
        """Raises ConditionError with everything that is wrong with the text."""
        if len(text) > CONDITION_CHARS_MAX:
            raise ConditionError((Fault(0, f"it has more than {CONDITION_CHARS_MAX} characters"),))
        for offset, character in enumerate(text):
            if not character.isprintable() and character not in "\t\n":
                raise ConditionError((Fault(offset, "it has a character that cannot be printed"),))
        for found in _STRING.finditer(text):
            # YAML folds lines into one: a remark would silently take the rest of the condition with it.
            if found[0].startswith("//"):
                raise ConditionError((Fault(found.start(), "it has a remark after //: write remarks with # outside of it"),))
        env = _environment(variables.kinds)
        kinds = dict(variables.kinds)
        _compile(env, text, text, 0, variables)
        terms = []
        for offset, term in _terms_of(text):
            terms.append(_Term(" ".join(term.split()), _names_in(term, kinds), _compile(env, text, term, offset, variables)))
        condition = cls(text, env, kinds, tuple(terms))
        condition._try_out(text)
        return condition

    def matches(self, values: Mapping[str, object]) -> Match:
        """Judge by the values of the variables. One that is missing or of another kind makes its term an error: no match."""
        data = {name: fitting for name, kind in self._kinds.items() if (fitting := _fit(values.get(name), kind)) is not None}
        activation = self._env.Activation(data)
        failed: Match | None = None
        for term in self._terms:
            verdict = _evaluate(term.program, activation)
            if isinstance(verdict, str):
                failed = failed or Match(MatchAnswer.ERROR, f"{term.text} cannot be judged: {verdict}")
            elif not verdict:
                # A false term decides whatever else fails, as in CEL itself.
                return Match(MatchAnswer.NO, f"{term.text} is false{_with_values(term, values)}")
        return failed or Match(MatchAnswer.YES, f"{' && '.join(term.text for term in self._terms)} is true")

    def terms(self) -> list[tuple[str, tuple[str, ...]]]:
        """The terms of the top-level `&&` chain, each with the names that it asks about."""
        return [(term.text, term.names) for term in self._terms]

    def only(self, texts: Collection[str]) -> Condition:
        """The condition with these of its terms alone."""
        terms = tuple(term for term in self._terms if term.text in texts)
        return Condition(" && ".join(term.text for term in terms), self._env, self._kinds, terms)

    def _try_out(self, text: str) -> None:
        """Find at load what would fail always: a pattern that is no regular expression, or far too much work."""
        samples = {name: _SAMPLES.get(kind, 0) for name, kind in self._kinds.items()}
        for term in self._terms:
            verdict = _evaluate(term.program, self._env.Activation(samples))
            if isinstance(verdict, str) and any(sign in verdict for sign in _HOPELESS):
                raise ConditionError((Fault(max(0, text.find(".matches")), verdict),))


def _evaluate(program: cel.Expression, activation: cel.Activation) -> bool | str:
    """What a term says, or why it cannot be judged."""
    try:
        verdict = program.eval(activation)
    except RuntimeError as error:
        # Most errors are values; this one is the end of the budget of iterations.
        return _why_not(str(error))
    value: bool | str = verdict.value() if verdict.type() == cel.Type.BOOL else _why_not(str(verdict.value()))
    return value


@functools.lru_cache(maxsize=64)
def _environment(kinds: tuple[tuple[str, str], ...]) -> cel.Env:
    return cel.NewEnv(variables={name: _TYPES[kind] for name, kind in kinds})


def _compile(env: cel.Env, whole: str, text: str, offset: int, variables: Variables) -> cel.Expression:
    try:
        program = env.compile(text)
    except RuntimeError as error:
        raise ConditionError(_faults(str(error), whole, text, offset, variables)) from error
    kind = program.return_type().name()
    if kind != "BOOL":
        word = _WORDS.get(kind, "something else")
        raise ConditionError((Fault(offset, f"it must say true or false, but {shown(text)} is {word}"),))
    return program


def _faults(message: str, whole: str, text: str, offset: int, variables: Variables) -> tuple[Fault, ...]:
    faults = []
    for line, column, reason in _FAULT.findall(message):
        starts = [0, *(m.end() for m in re.finditer("\n", text))]
        at = min(starts[min(int(line), len(starts)) - 1] + int(column) - 1, max(0, len(text) - 1))
        if text[at : at + 1] == ".":
            at += 1
        faults.append(Fault(offset + at, _explain(reason, whole, variables)))
    return tuple(faults) or (Fault(offset, shown(message)),)


def _explain(reason: str, whole: str, variables: Variables) -> str:
    names = [name for name, _ in variables.kinds]
    if undeclared := _UNDECLARED.search(reason):
        return _unknown_name(undeclared[1], whole, names, variables.about)
    if overload := _OVERLOAD.search(reason):
        operator = overload[1].replace("@", "").strip("_").replace("_", " ")
        hint = {
            "double, int": ": write the whole number with a decimal point, such as 90.0",
            "int, double": ": write the number without a decimal point, such as 90",
            "string, int": ": put the number in quotes, or compare a number",
        }.get(overload[2], "")
        return f"{operator} does not work on ({overload[2]}){hint}"
    if "'<EOF>'" in reason:
        return "it ends too early"
    return shown(reason.replace("Syntax error: ", "").split(" expecting ")[0])


def _unknown_name(name: str, whole: str, names: list[str], about: str) -> str:
    if f"{name}(" in whole.replace(" ", ""):
        return f"there is no function {name}"
    prefix, _, field = name.rpartition(".")
    meant = did_you_mean(name, [n for n in names if prefix and n.startswith(f"{prefix}.")] or names)
    if prefix == "finding":
        return f"the finding of {about} has no field {field}; {meant}"
    return f"there is no variable {name}; {meant}"


def _terms_of(text: str) -> list[tuple[int, str]]:
    """The terms of the top-level && chain with their offsets; the whole text if something binds looser than &&."""
    masked = _masked(text)
    depth = 0
    cuts = []
    for index, character in enumerate(masked):
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif depth == 0 and (character == "?" or masked.startswith("||", index)):
            return [(0, text)]
        elif depth == 0 and masked.startswith("&&", index):
            cuts.append(index)
    starts = [0, *(cut + 2 for cut in cuts)]
    return [(start, text[start:end]) for start, end in zip(starts, [*cuts, len(text)], strict=True)]


def _masked(text: str) -> str:
    """The text with strings and comments blanked out, at the same offsets."""
    return _STRING.sub(lambda found: " " * len(found[0]), text)


def _names_in(term: str, kinds: Mapping[str, str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for match in _NAME.finditer(_masked(term)):
        parts = "".join(match[0].split()).split(".")
        for length in range(len(parts), 0, -1):
            name = ".".join(parts[:length])
            if name in kinds:
                label = kinds[name] == LABELS_KIND and length < len(parts)
                found[f"{name}.{parts[length]}" if label else name] = None
                break
    return tuple(found)


def _with_values(term: _Term, values: Mapping[str, object]) -> str:
    shown_values = []
    for name in term.names:
        value = values.get(name)
        labels = values.get("host.labels")
        if value is None and isinstance(labels, Mapping):
            value = labels.get(name.removeprefix("host.labels."))
        if isinstance(value, str):
            shown_values.append(f'{name} is "{shown(value)}"')
        elif isinstance(value, bool | int | float):
            shown_values.append(f"{name} is {shown(value)}")
    return f" ({', '.join(shown_values)})" if shown_values else ""


def _fit(value: object, kind: str) -> object | None:
    """The value if it is of the kind, else None: what a host sends is not trusted to fit its catalogue."""
    if kind == "text":
        return value if isinstance(value, str) else None
    if kind == "flag":
        return value if isinstance(value, bool) else None
    if kind == LABELS_KIND:
        return dict(value) if isinstance(value, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if kind == "number":
        return float(value)
    return value if isinstance(value, int) else None


def _why_not(message: str) -> str:
    if missing := _MISSING_KEY.search(message):
        return f"the host has no label {shown(missing[1])}"
    if missing := _MISSING_VALUE.search(message):
        return f"{missing[1]} is not known"
    return shown(re.sub(r"^[A-Z_]+: ", "", message))
