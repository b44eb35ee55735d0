"""Moments and spans of time, as people type and read them: `2h`, `1h30m`, `2026-11-30`, `2026-11-30T18:00+01:00`."""

import re
from datetime import UTC, datetime, time, timedelta

_UNITS = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}.*")
_PART = re.compile(r"\s*([0-9]{1,6})\s*(s|min|m|h|d|w)")


class MomentError(ValueError):
    """The typed text is no moment; the message says what it should be."""


def moment_after(span: str, now: datetime) -> datetime:
    """Return the moment that is a span of time, such as `1h30m`, after `now`. Raises MomentError."""
    left = span.strip().lower()
    length = timedelta()
    try:
        while match := _PART.match(left):
            length += timedelta(**{_UNITS[match[2]]: int(match[1])})
            left = left[match.end() :]
        if left.strip() or not length:  # something that is no part of a span, or no time at all
            raise MomentError(f"{span[:40]!r} should be a span of time such as 30m, 2h or 1d")
        return now + length
    except OverflowError:
        raise MomentError(f"{span[:40]!r} is longer than anything will last") from None


def moment_before(span: str, now: datetime) -> datetime:
    """Return the moment that is a span of time, such as `1h30m`, before `now`. Raises MomentError."""
    try:
        return now - (moment_after(span, now) - now)
    except OverflowError:
        raise MomentError(f"{span[:40]!r} is longer than anything has lasted") from None


def past_moment(text: str, now: datetime) -> datetime:
    """Read a moment of the past; a time without a date is the latest such time before `now`, in its time zone.

    Raises MomentError.
    """
    if not _CLOCK.fullmatch(text.strip()):  # a date without dashes would pass for a time without colons
        return parse_moment(text)
    try:
        clock = time.fromisoformat(text.strip())
    except ValueError:
        return parse_moment(text)
    today = datetime.combine(now.date(), clock, tzinfo=clock.tzinfo or now.tzinfo)
    return today if today <= now else today - timedelta(days=1)


def parse_moment(text: str) -> datetime:
    """Read a date, or a date and time, in this host's time zone unless it names one. Raises MomentError."""
    try:
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise MomentError(f"{text[:40]!r} should be a moment such as 2026-11-30T18:00") from None


def age(moment: datetime | None, now: datetime) -> str:
    """Say how long ago a moment is, such as `12 min`; one that seems to lie ahead is `0 s` ago."""
    return "some time" if moment is None else span((now - moment).total_seconds())


def span(seconds: float) -> str:
    """Write a span of time in its largest whole unit, such as `12 min`."""
    whole = max(0, int(seconds))
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if whole >= size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def local_time(moment: datetime) -> str:
    """Write a moment in this host's time zone."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
