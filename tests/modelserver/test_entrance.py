"""Where the model's own code begins is found in every kind of model: behind what MLflow checks, before what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest

from modelserver.answer import JSON, HttpAnswer
from modelserver.model.blame import Stage
from modelserver.model.error_log import ModelErrorLog
from modelserver.model.failure_answer import answer_failure
from modelserver.model.invocations import ScoringModel
from modelserver.model.progress import RequestProgress, in_this_thread

_IMPORTS = """
import mlflow
from mlflow.pyfunc import PythonModel
"""
_CHAT = """
from mlflow.pyfunc import ChatAgent, ChatModel, ResponsesAgent
from mlflow.types.agent import ChatAgentMessage, ChatAgentResponse
from mlflow.types.llm import ChatChoice, ChatCompletionResponse, ChatMessage
from mlflow.types.responses import ResponsesAgentResponse

def said(messages):
    text = str(messages[-1].content)
    if text == "raise":
        raise ValueError("no breath")
    return text
"""
_END = """
mlflow.models.set_model(Model())
"""
_PREDICTS = """
        if "raise" in str(model_input):
            raise ValueError("no breath")
        return {1} if "odd" in str(model_input) else [0.5]
"""
_MESSAGES: dict[str, object] = {
    what: {"messages": [{"role": "user", "content": what}]} for what in ("right", "raise", "odd")
}
# For each kind: its code, and a request that is right, one that is wrong, one at which it raises or answers oddly.
MODELS: dict[str, tuple[str, dict[str, object]]] = {
    "without hints": (
        f"{_IMPORTS}class Model(PythonModel):\n    def predict(self, context, model_input):{_PREDICTS}{_END}",
        {"right": {"inputs": ["x"]}, "wrong": {"inputs": ["x"], "params": {"a": 1}, "instances": []}},
    ),
    "with hints": (
        f"{_IMPORTS}class Model(PythonModel):\n    def predict(self, model_input: list[str]):{_PREDICTS}{_END}",
        {"right": {"inputs": ["x"]}, "wrong": {"inputs": [1]}},
    ),
    "with hints, traced": (
        f"{_IMPORTS}class Model(PythonModel):\n    @mlflow.trace\n"
        f"    def predict(self, context, model_input: list[str]):{_PREDICTS}{_END}",
        {"right": {"inputs": ["x"]}, "wrong": {"inputs": [1]}},
    ),
    "with hints, by its parent": (
        f"{_IMPORTS}class Parent(PythonModel):\n    def predict(self, model_input: list[str]):{_PREDICTS}\n"
        f"class Model(Parent):\n    def predict(self, model_input: list[str]):\n"
        f"        return super().predict(model_input){_END}",
        {"right": {"inputs": ["x"]}, "wrong": {"inputs": [1]}},
    ),
    "a chat model": (
        f"{_IMPORTS}{_CHAT}class Model(ChatModel):\n    def predict(self, context, messages, params):\n"
        "        text = said(messages)\n"
        "        choices = [ChatChoice(message=ChatMessage(role='assistant', content=text))]\n"
        f"        return None if text == 'odd' else ChatCompletionResponse(choices=choices, model='m'){_END}",
        {**_MESSAGES, "wrong": {"messages": [{"role": "user"}]}},
    ),
    "a chat agent": (
        f"{_IMPORTS}{_CHAT}class Model(ChatAgent):\n"
        "    def predict(self, messages, context=None, custom_inputs=None):\n"
        "        text = said(messages)\n"
        "        answer = [ChatAgentMessage(role='assistant', content=text, id='1')]\n"
        f"        return None if text == 'odd' else ChatAgentResponse(messages=answer){_END}",
        {**_MESSAGES, "wrong": {"messages": [{"role": 1}]}},
    ),
    "an agent of responses": (
        f"{_IMPORTS}{_CHAT}class Model(ResponsesAgent):\n    def predict(self, request):\n"
        "        text = said(request.input)\n"
        "        item = self.create_text_output_item(text=text, id='1')\n"
        f"        return None if text == 'odd' else ResponsesAgentResponse(output=[item]){_END}",
        {
            "right": {"input": [{"role": "user", "content": "right"}]},
            "wrong": {"input": [{"role": {}, "content": 1}]},
            "raise": {"input": [{"role": "user", "content": "raise"}]},
            "odd": {"input": [{"role": "user", "content": "odd"}]},
        },
    ),
}


def _asked(model: Any, requests: dict[str, object]) -> Callable[[str], tuple[HttpAnswer, Stage]]:
    error_log = ModelErrorLog()
    scoring = ScoringModel(model, error_log)

    def ask(what: str) -> tuple[HttpAnswer, Stage]:
        body = requests.get(what, {"inputs": [what]})
        request = RequestProgress()
        with in_this_thread(request):
            try:
                answer = scoring.answer(json.dumps(body).encode(), JSON, request)
            except BaseException as failure:  # noqa: BLE001 - as the server does
                answer = answer_failure("/invocations", request, failure, error_log)
            return answer, request.stage

    return ask


@pytest.mark.parametrize("kind", MODELS)
def test_the_model_s_own_code_begins_behind_mlflow_s(kind: str, tmp_path: Path) -> None:
    """Right: answered. Wrong: it never got there. It raises, or answers oddly: it had been there."""
    code, requests = MODELS[kind]
    (tmp_path / "written.py").write_text(code)
    mlflow.pyfunc.save_model(tmp_path / "m", python_model=str(tmp_path / "written.py"), pip_requirements=["mlflow"])
    ask = _asked(mlflow.pyfunc.load_model(str(tmp_path / "m")), requests)
    seen = {what: ask(what) for what in ("right", "wrong", "raise", "odd")}
    told = {what: (answer.status, answer.release_failed, stage) for what, (answer, stage) in seen.items()}
    assert told == {
        "right": (200, False, Stage.ANSWERING),
        "wrong": (400, False, Stage.READING),
        "raise": (400, True, Stage.PREDICTING),
        "odd": (500, True, Stage.ANSWERING),
    }, {what: answer.body for what, (answer, _) in seen.items()}


def test_a_function_and_a_flavour_are_models_too(tmp_path: Path) -> None:
    """A function gets a class of MLflow's around it; a flavour has none."""

    def answers(model_input: list[str]) -> list[str]:
        if model_input == ["raise"]:
            raise ValueError("no breath")
        return model_input

    mlflow.pyfunc.save_model(tmp_path / "f", python_model=answers, input_example=["x"], pip_requirements=["mlflow"])
    ask = _asked(mlflow.pyfunc.load_model(str(tmp_path / "f")), {"wrong": {"inputs": [1]}})
    assert [ask(what)[1] for what in ("right", "wrong", "raise")] == [
        Stage.ANSWERING,
        Stage.READING,
        Stage.PREDICTING,
    ]
    own = "class Own:\n    def predict(self, data):\n        return 1 / len(data)\n"
    (tmp_path / "flavour_of_its_own.py").write_text(f"{own}\n\ndef _load_pyfunc(path):\n    return Own()\n")
    mlflow.pyfunc.save_model(
        tmp_path / "l",
        loader_module="flavour_of_its_own",
        code_paths=[str(tmp_path / "flavour_of_its_own.py")],
        pip_requirements=[],
    )
    ask = _asked(mlflow.pyfunc.load_model(str(tmp_path / "l")), {"wrong": {"x": 1}, "raise": {"inputs": []}})
    assert [ask(what)[1] for what in ("right", "wrong", "raise")] == [
        Stage.ANSWERING,
        Stage.READING,
        Stage.PREDICTING,
    ]
