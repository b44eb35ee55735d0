"""Values that somebody hostile would write into a registry: a list by hand, and more of the same kind by chance."""

import random
from collections.abc import Iterator

PIECES = (
    *('"', "'", "\\", "\\\\", "%", "%%", "%i", "%n", "%h", "%{", "$", "$$", "${HOME}", "$MAINPID", "$(id)", "`id`"),
    *("\n", "\r", "\r\n", "\n\n", "\t", "\v", "\f", "\x85", "\u2028", "\u2029", "\\\n", " \\\n", "\x1b[31m", "\x07"),
    *(" ", "  ", ";", " ; ", "\\;", "#", "\n#", "=", "==", ",", ":", "|", "&", "<", ">", "*", "?", "~", "!", "@", "-"),
    *(
        "[Service]",
        "\n[Service]\nUser=root\n",
        "\nExecStartPre=+/bin/touch /escaped\n",
        "]",
        "[",
        "{",
        "}",
        "{{ 7*7 }}",
    ),
    *("\\x2d", "\\x41", "\\u0041", "\\101", "\\n", "\\s", "\\x00", "\x01", "\x7f", "\x80", "\xa0", "\ufeff"),
    *("é", "日本", "\U0001f600", "\u202e", "\u2066", "\u200b", "\u200f", "שלום", "مرحبا", "a\u0301" * 3, "\u0301" * 9),
    *("--source", "-", "--", "../", "/etc/shadow", "\nLoadCredential=x:/etc/shadow\n", "\n[X-Mlflow-Reconciler]\n"),
    *("a", "Z", "0", "name", "word word"),
)
BY_HAND = (
    *PIECES,
    *(
        "",
        " leading",
        "trailing ",
        "\ttabs\t",
        "ends in \\",
        "ends in \\\\",
        '"quoted"',
        "'quoted'",
        '"',
        "\"'",
        "%" * 99,
    ),
    *("x" * 4000, "\\" * 999, '"' * 999, "\n" * 999, "$" * 999, "é" * 2000, "\U0001f600" * 500, "a " * 2000),
    *('" ; /bin/touch /escaped ; "', "'; touch /escaped; '", "x\nUser=root", "x\rUser=root", "x\\\nUser=root"),
)
NOT_FOR_UNITS = ("\0", "a\0b", "\ud800", "a\udfffb", "\ufffe", "\uffff", "\ufdd0", "\U0001ffff")
"""No unit can carry them."""


def values(count: int, seed: int = 1) -> Iterator[str]:
    """Give so many values that a unit can carry, first those by hand."""
    chance = random.Random(seed)  # noqa: S311 - the same ones each time, no secret
    for number in range(count):
        yield BY_HAND[number] if number < len(BY_HAND) else "".join(chance.choices(PIECES, k=chance.randint(1, 12)))
