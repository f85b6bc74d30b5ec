"""What each kind of break means, what to look at, and what to do (docs/operations.md has the same)."""

from __future__ import annotations

from ledger.domain.records import BreakKind

WHAT_TO_DO: dict[BreakKind, str] = {
    BreakKind.SYMBOL_DIFFERS: (
        "Is it another name of the same instrument? Then release. Is it another instrument's fill? Then "
        "reject, and have the venue bust it."
    ),
    BreakKind.SIDE_DIFFERS: (
        "Ask the venue which side it holds. If the order's is right, have the venue bust or correct the "
        "fill, or reject it; release only where the fill is right as reported."
    ),
    BreakKind.ACCOUNT_DIFFERS: (
        "Is it another name of the same account, or an allocation? Then release. Else have the venue move "
        "the fill, and reject it here."
    ),
    BreakKind.CURRENCY_DIFFERS: (
        "Compare the intent's currency with the instrument's. Release where the report is right; else have "
        "the venue correct it."
    ),
    BreakKind.CORRELATION_CONFLICT: (
        "The report names another order than its ClOrdID does. Find which of the two the fill belongs to: "
        "release where it is this order, reject where it is the other one."
    ),
    BreakKind.CONFLICTING_DUPLICATE: (
        "Two wordings of one report. Compare the raw reports with the venue's own records. Release keeps "
        "the wording that counts (`ours`), reject makes the other one count."
    ),
    BreakKind.OVERFILL: (
        "More was filled than ordered. Look for a replace that has not come as an intent, or a bust on its "
        "way: both end it by themselves. Release takes the surplus on; reject voids the newest fills until "
        "OrderQty holds."
    ),
    BreakKind.PRICE_BEYOND_LIMIT: (
        "Look for a replace of the limit that has not come as an intent. Else claim it at the venue: "
        "release takes the price, reject voids the execution."
    ),
    BreakKind.CUM_QTY_DIFFERS: (
        "The venue counts another quantity than we do: a report is missing or one is too many. Ask for a "
        "resend or look the fills up at the venue. Release goes on with our count; there is nothing to "
        "reject."
    ),
    BreakKind.AVG_PX_DIFFERS: (
        "The venue's average is another than that of the fills we hold. Compare the prices fill by fill; "
        "look at the venue's tolerance. Release goes on with ours; there is nothing to reject."
    ),
    BreakKind.SPLIT_DIFFERS: (
        "The parts of a report do not make up the whole. Wait for the missing part, or ask for it. Release "
        "goes on with the parts; there is nothing to reject."
    ),
    BreakKind.VOIDED_CORRECTED: (
        "It stays void: a canceled execution cannot be corrected (FIX), the venue sends a new Trade where it "
        "is to count. Ask for that. Release or reject, both take note of the correct."
    ),
    BreakKind.UNKNOWN_ORDER: (
        "A fill for an order that nobody routed. Find who sent the order and route its intent: that ends "
        "it. An order that is not ours is the venue's to bust. It cannot be released without an order."
    ),
}
