"""Who gets one of the few places of a host, and who waits for the next pass."""

from collections.abc import Collection, Iterable


def without_place(in_turn: Iterable[str], running: Collection[str], urgent: Collection[str], most: int) -> list[str]:
    """Return the units that must not start yet, of those that want to, in the order in which they would get a place.

    No more than `most` run at once. Only urgent ones may exceed that, while others that began before them still run,
    and there are never more than `most` of the urgent ones.
    """
    # Urgent ones are limited among each other only. They use up the places of the others, which may fall below 0.
    urgent_places = most - len([unit for unit in running if unit in urgent])
    places = most - len(running)
    waiting = []
    for unit in in_turn:
        is_urgent = unit in urgent
        free = urgent_places if is_urgent else places
        if free <= 0:
            waiting.append(unit)
            continue
        # It takes the place of another one also where it had a place of its own.
        places -= 1
        if is_urgent:
            urgent_places -= 1
    return waiting
