"""A model that keeps what it "compiles" in the place for that, as numba does; what it finds there may be broken."""

import os
from pathlib import Path
from typing import Any

import mlflow
from mlflow.pyfunc.model import PythonModel

PLACE = Path(os.environ["NUMBA_CACHE_DIR"], __name__)


class Compiling(PythonModel):
    """Answers 1 if it found something compiled, else 0; raises if that is broken."""

    def load_context(self, context: Any) -> None:  # noqa: ARG002 - MLflow's signature
        """Compile, or find what was compiled."""
        self.found = PLACE.exists()
        if self.found and PLACE.read_text() != "compiled":
            raise ImportError("what was compiled is broken")
        PLACE.parent.mkdir(parents=True, exist_ok=True)
        PLACE.write_text("compiled")

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:  # noqa: ARG002 - MLflow's signature
        """Tell."""
        return [float(self.found)], "negative"


mlflow.models.set_model(Compiling())
