"""scikit-learn: a forest trained in two threads, and a straight line."""

import io

import pandas as pd
from mlflow.pyfunc.model import PythonModel
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression


class Model(PythonModel):
    """Trained when it is loaded, on a table that it makes itself."""

    def load_context(self, context):
        """Learn y = 2a + 3b + 1, and a step at a = 10."""
        table = pd.DataFrame([(a, b) for a in range(20) for b in range(5)], columns=["a", "b"], dtype=float)
        self.line = LinearRegression().fit(table, 2 * table.a + 3 * table.b + 1)
        step = (table.a >= 10) * 2 + 1
        self.forest = RandomForestRegressor(20, bootstrap=False, n_jobs=2, random_state=0).fit(table, step)

    def predict(self, context, model_input):
        """Return what the line and the forest say of each row."""
        table = pd.read_csv(io.BytesIO(bytes(model_input[1]["table"]["content"])))
        return [*self.line.predict(table), *self.forest.predict(table)], "inconclusive"
