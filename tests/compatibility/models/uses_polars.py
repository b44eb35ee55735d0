"""Polars: a lazy query over several threads."""

import io

import polars as pl
from mlflow.pyfunc.model import PythonModel


class Model(PythonModel):
    """Sums of groups."""

    def predict(self, context, model_input):
        """Return the sum of a for each b, in the order of b, and the number of rows of a join with itself."""
        table = pl.read_csv(io.BytesIO(bytes(model_input[1]["table"]["content"])))
        sums = table.lazy().group_by("b").agg(pl.col("a").sum()).sort("b").collect()
        joined = table.join(table, on="b")
        return [*map(float, sums["a"]), float(joined.height)], "inconclusive"
