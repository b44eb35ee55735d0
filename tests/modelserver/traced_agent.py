"""An agent whose predict MLflow traces without being asked."""

import mlflow
from mlflow.pyfunc.model import ResponsesAgent
from mlflow.types.responses import ResponsesAgentRequest, ResponsesAgentResponse


class Agent(ResponsesAgent):
    """Answers with one word."""

    # MLflow's own signature of it is another than that of what it inherits from.
    def predict(self, request: ResponsesAgentRequest) -> ResponsesAgentResponse:  # type: ignore[override]  # noqa: ARG002 - see above; it says the same to all
        """The word."""
        return ResponsesAgentResponse.model_validate({"output": [self.create_text_output_item("heard", "1")]})


mlflow.models.set_model(Agent())
