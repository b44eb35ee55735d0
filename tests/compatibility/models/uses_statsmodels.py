"""statsmodels: a regression with its statistics."""

import io

import pandas as pd
import statsmodels.api as sm
from mlflow.pyfunc.model import PythonModel


class Model(PythonModel):
    """Fits the table that it is asked with."""

    def predict(self, context, model_input):
        """Return [intercept, slope of a, slope of b, R squared] of y, and the rate of a Poisson model of y alone."""
        table = pd.read_csv(io.BytesIO(bytes(model_input[1]["table"]["content"])), dtype=float)
        y = 2 * table.a + 3 * table.b + 1
        line = sm.OLS(y, sm.add_constant(table)).fit()
        rate = sm.GLM(y, [1.0] * len(y), family=sm.families.Poisson()).fit()
        return [*line.params, line.rsquared, rate.predict([1.0])[0]], "inconclusive"
