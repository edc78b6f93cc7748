"""The hard situations that a run has to have been through, each counted from what was seen from outside.

A run in which one of them did not occur has shown nothing about it, and fails.
"""


def a_reservation_met_a_tombstone(seen):
    """Its release came first: the reservation was refused although nothing was short."""
    refused = {event.json["orderUuid"] for event in seen.events if event.type == "STOCK_REJECTED"}
    return sum(row["state"] == "REJECTED" and not row["shortages"] and uuid in refused
               for uuid, row in seen.reservations.items())


def a_capture_finished_after_the_cancel_and_the_money_went_back(seen):
    found = 0
    for order in seen.orders.values():
        cancelled = [entry["at"] for entry in seen.timeline.get(order["id"], []) if entry["what"] == "ORDER_CANCELLED"]
        captured = seen.captures.get(order["uuid"])
        ledger = seen.ledger.get(order["uuid"])
        if cancelled and captured and captured > cancelled[0] and ledger["captured"] == ledger["refunded"] > 0:
            found += 1
    return found


def a_paused_relay_went_on_after_another_had_taken_over(seen):
    return seen.relays_taken_over


def a_key_was_held_while_its_partition_went_on(seen):
    """An event took effect later than one behind it on the same partition: consumers go through a partition in its
    order, and only the retry queue takes a key out of it."""
    found = 0
    for topic in {event.topic for event in seen.events}:
        events = list(seen.first_events(topic))
        for taken_in in seen.inbox.values():
            earliest = {}  # of what is further behind, by partition
            for event in reversed(events):
                at = taken_in.get(event.headers["ce_id"])
                if at is None:
                    continue
                found += at > earliest.get(event.partition, at)
                earliest[event.partition] = min(at, earliest.get(event.partition, at))
    return found


def a_repeat_waited_for_its_first_and_got_its_answer(seen):
    return seen.repeats_that_waited


ALL = (a_reservation_met_a_tombstone, a_capture_finished_after_the_cancel_and_the_money_went_back,
       a_paused_relay_went_on_after_another_had_taken_over, a_key_was_held_while_its_partition_went_on,
       a_repeat_waited_for_its_first_and_got_its_answer)


def counts(seen):
    """{situation: how often it occurred}"""
    return {situation.__name__: situation(seen) for situation in ALL}
