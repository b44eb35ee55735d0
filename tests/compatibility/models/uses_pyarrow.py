"""Arrow: CSV to Parquet and back, in memory, and a grouped sum."""

import io

import pyarrow as pa
from mlflow.pyfunc.model import PythonModel
from pyarrow import csv, parquet


class Model(PythonModel):
    """Sums of groups."""

    def predict(self, context, model_input):
        """Return the sum of a for each b, in the order of b."""
        table = csv.read_csv(io.BytesIO(bytes(model_input[1]["table"]["content"])))
        file = pa.BufferOutputStream()
        parquet.write_table(table, file, compression="zstd")
        again = parquet.read_table(pa.BufferReader(file.getvalue()))
        sums = again.group_by("b").aggregate([("a", "sum")]).sort_by("b")
        return [float(value) for value in sums["a_sum"].to_pylist()], "inconclusive"
