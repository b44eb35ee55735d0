"""What is measured, and what it is to come to."""

import statistics
from dataclasses import dataclass

OURS = "mlflow-systemd"


@dataclass(frozen=True)
class Figure:
    """What one subject came to in one row of the table; each round gives a sample, in `unit`."""

    row: str
    """Such as "requests per second, one row of JSON, 8 connections"."""
    subject: str
    """`OURS`, or a peer with its version."""
    unit: str
    samples: tuple[float, ...]
    remark: str = ""
    """What a reader must know to read it, such as an option that is not the default."""

    @property
    def median(self) -> float:
        """The median of the samples."""
        return statistics.median(self.samples)


@dataclass(frozen=True)
class Goal:
    """What a row's median of `OURS` is to reach: in its unit, or as a ratio to the median of a peer in the same row."""

    row: str
    bound: float
    is_lowest: bool
    """Whether `bound` is the least that it may be; else it is the most."""
    peer: str = ""
    """How the peer's name begins; "" for a bound in the row's unit."""
