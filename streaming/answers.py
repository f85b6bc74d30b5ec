"""What the desk's arrivals became: verdicts of two persons, and dead letters that were handed in again."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from ledger.db.desk import Answers, ReplayAnswer, VerdictAnswer
from ledger.domain.book import key_of, reference_of
from ledger.domain.decide import ORDER_INTENTS, ORDER_STATES
from ledger.domain.events import letter_ended_event
from ledger.domain.identity import dead_letter_id
from ledger.domain.records import Captured, CapturedOrder, DeadLetter, OrderIntent, Snapshot
from ledger.domain.verdicts import agreed
from streaming.arrivals import Arrival, ArrivalKind
from streaming.decoding import decode_votes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledger.domain.book import Book
    from ledger.domain.decide import Fact
    from ledger.domain.decision import Decision

LANDED, DUPLICATE, PENDING, DEAD = "landed", "duplicate", "pending", "dead letter again"
_DEAD_TEXT = "{0}: {1.reason}: {1.field} {1.rule}"


def is_settled(outcome: str) -> bool:
    """Whether a replay left nothing to do: such a letter is replayed once more only when asked for ``again``."""
    return outcome.startswith((LANDED, DUPLICATE)) and DEAD not in outcome


def answer_desk(
    arrivals: Sequence[Arrival], facts: Sequence[Sequence[Fact]], book: Book, decision: Decision
) -> Answers | None:
    """Give the answers to a batch's verdicts and replays; None where it has none.

    Adds to the decision that the dead letters were replayed: it is an event of their own, each time.
    """
    if not any(a.replay is not None or a.kind is ArrivalKind.VERDICT for a in arrivals):
        return None
    answers = Answers()
    for arrival, held in zip(arrivals, facts, strict=True):
        if arrival.kind is ArrivalKind.VERDICT:
            answers.verdicts += _verdict_answer(arrival, held, decision)
        elif arrival.replay is not None:
            outcome = outcome_of(held, book, decision)
            replay = arrival.replay
            answers.replays += [ReplayAnswer(request_id, outcome) for request_id in replay.request_ids]
            decision.letters_ended.append((replay.dead_letter_id, outcome))
            cause = ",".join(map(str, replay.request_ids))
            decision.events.append(
                letter_ended_event(replay.dead_letter_id, None, outcome, person=replay.person, cause=cause)
            )
    return answers


def discount_replays(arrivals: Sequence[Arrival], facts: Sequence[Sequence[Fact]], decision: Decision) -> None:
    """Take what replays brought again out of the duplicates: a person handed it in, no venue sent it twice."""
    if not any(arrival.replay is not None for arrival in arrivals):
        return
    fresh = {key_of(c) for c in decision.fills} | {key_of(c) for c in decision.order_reports}
    for arrival, held in zip(arrivals, facts, strict=True):
        for fact in held if arrival.replay is not None else ():
            feed = None
            if isinstance(fact, DeadLetter):
                feed = None if fact in decision.dead_letters else fact.feed
            elif isinstance(fact, Captured | CapturedOrder) and key_of(fact) not in fresh:
                feed = fact.feed if isinstance(fact, Captured) else fact.feed + ORDER_STATES
            if feed is not None and decision.duplicates.get(feed):
                decision.duplicates[feed] -= 1


def _verdict_answer(arrival: Arrival, held: Sequence[Fact], decision: Decision) -> list[VerdictAnswer]:
    votes = decode_votes(arrival.raw)
    resolution = agreed(votes)
    if resolution is None:
        return []
    why = next((d.defect.rule for d in held if isinstance(d, DeadLetter)), None)
    for refused, reason in decision.refused:
        if refused.resolution_id == resolution.resolution_id:
            why = reason
    used = tuple(vote.vote_id for vote in votes)
    outcome = "applied" if why is None else "refused"
    return [VerdictAnswer(resolution.resolution_id, resolution.break_id, used, outcome, why)]


def outcome_of(held: Sequence[Fact], book: Book, decision: Decision) -> str:
    """Say what the facts of one dead letter became by a decision that is not applied to the book yet."""
    letters = [d for d in held if isinstance(d, DeadLetter)]
    refused = {d.dead_letter_id: d for d in decision.dead_letters}
    fresh = {key_of(c) for c in decision.fills} | {key_of(c) for c in decision.order_reports}
    words: Counter[str] = Counter()
    for fact in held:
        if isinstance(fact, Captured | CapturedOrder):
            words[_report_outcome(fact, fresh, book, decision)] += 1
        elif isinstance(fact, OrderIntent):
            kept = dead_letter_id(ORDER_INTENTS, msgspec.json.encode(fact))
            if kept in refused:
                letters.append(refused[kept])
            else:
                words[LANDED if fact in decision.intents else DUPLICATE] += 1
        elif isinstance(fact, Snapshot):
            words[LANDED if fact in decision.snapshots else DUPLICATE] += 1
    several = len(held) > 1
    said = [f"{word} {number}" if several else word for word, number in sorted(words.items())]
    said += list(dict.fromkeys(_DEAD_TEXT.format(DEAD, letter.defect) for letter in letters))
    return ", ".join(said) or f"{LANDED}: nothing in it concerns an order"


def _report_outcome(
    fact: Captured | CapturedOrder, fresh: set[tuple[str, str]], book: Book, decision: Decision
) -> str:
    if isinstance(fact, CapturedOrder):
        return LANDED if key_of(fact) in fresh else DUPLICATE
    report_id = fact.report.report_id
    reference = reference_of(fact.report)
    owner = book.by_reference.get(reference, "")
    order = decision.orders.get(owner) or book.orders.get(owner)
    waits = report_id in order.unresolved if order is not None else False
    if (
        waits
        or any(p.row_id == report_id for p in decision.pending)
        or key_of(fact) in book.pending.get(reference, {})
    ):
        return PENDING
    return LANDED if key_of(fact) in fresh else DUPLICATE
