"""One word for one reason: in the journal, the log, the metric and the explanation, for every reason that there is."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest

from fleetmend_controller.admin.explain import explain
from fleetmend_controller.admin.explain_text import render, zone
from fleetmend_controller.admin.story import Story, StoryRow
from fleetmend_controller.core import effects
from fleetmend_controller.core.effects import PhaseChanged, Reason, Step, Verdict, Why
from fleetmend_controller.core.events import Woken
from fleetmend_controller.core.model import Phase, Subject
from fleetmend_controller.decider import ledger
from fleetmend_controller.decider.perform import Performer
from fleetmend_controller.decider.timers import Timers
from fleetmend_controller.http.metrics import Metrics
from fleetmend_controller.store import codec

CORE = Path(effects.__file__).parent
SUBJECT = Subject("h-1", "unit_failed", "nginx.service")


def journalled(reason: Reason) -> StoryRow:
    """The row of the decision, as the journal writes it and explain reads it."""
    step = Step((PhaseChanged("inc-1", SUBJECT, None, Phase.OPEN, 0),), (reason,))
    _, decision = ledger.entries_of(Woken(1_000, "inc-1"), step, 1)
    body = json.loads(decision.body)
    return StoryRow(2, 1_000, {"type": "Woken"}, body["reasons"], body["effects"])


@pytest.mark.parametrize("why", list(Why), ids=lambda why: why.value)
@pytest.mark.parametrize("gate", ["", "storm"], ids=["said", "by a gate"])
def test_a_reason_is_the_same_word_everywhere(why: Why, gate: str, caplog: pytest.LogCaptureFixture):
    text = f"the sentence about {why.name.lower().replace('_', ' ')}"
    reason = Reason("inc-1", why, text, gate, Verdict.HOLD if gate else None, "restart")
    row = journalled(reason)
    assert [(said["why"], said["text"], said["gate"]) for said in row.reasons] == [(why.value, text, gate)]
    assert codec.decode(Reason, json.loads(codec.dumps(codec.encode(reason)))) == reason

    explanation = explain(Story("inc-1", (row,)), {"h-1": "web-1"})
    assert explanation is not None
    lines = [line for section in explanation.sections for line in section.lines]
    assert [line.why for line in lines if line.text == text] == [why.value]
    assert text in " ".join(render(explanation, zone("UTC")).split())

    metrics = Metrics()
    with caplog.at_level(logging.INFO, "fleetmend.decider"):
        Performer(metrics, Timers()).perform(Step((), (reason,)))
    assert f"why={why.value}" in caplog.text
    assert text in caplog.text
    assert metrics.registry.get_sample_value("fleetmend_reasons_total", {"reason": why.value}) == 1
    withheld = metrics.registry.get_sample_value("fleetmend_actions_withheld_total", {"gate": "storm", "reason": why.value})
    assert withheld == (1 if gate else None)


def test_no_reason_is_only_a_word():
    """Each is given by some decision; a word that nobody says is a promise that nobody keeps."""
    sources = " ".join(path.read_text() for path in sorted(CORE.rglob("*.py")) if path.name != "effects.py")
    said = set(re.findall(r"\bWhy\.([A-Z_]+)\b", sources))
    assert sorted(why.name for why in Why if why.name not in said) == []
