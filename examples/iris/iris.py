"""A model that has nothing to do with SPIRA: logs and registers a scikit-learn classifier.

    MLFLOW_TRACKING_URI=http://127.0.0.1:5000 python3 examples/iris/iris.py [NAME]

It uses MLflow alone, and needs `pip install mlflow`. It takes the address and the login from the
environment or from the file `.env` here, as pipeline.py does. A host replays the input example
before it lets a version serve.
"""

import os
import sys
from importlib.metadata import version

# A wrong address should say so in seconds; MLflow's own defaults take minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

import mlflow.sklearn
from dotenv import load_dotenv
from mlflow.models import infer_signature
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

load_dotenv(".env", interpolate=False)
if not os.environ.get("MLFLOW_TRACKING_URI", "").startswith(("http://", "https://")):
    # MLflow would make a database in a local file, which no host reads, and say that all is well.
    sys.exit(
        "cannot register the model: MLFLOW_TRACKING_URI does not name an MLflow server; "
        "set it in the environment or in .env, such as MLFLOW_TRACKING_URI=http://mlflow.example:5000"
    )

# mlflow-skinny serves it (skops reads the file that MLflow writes for scikit-learn); the full
# mlflow would bring some fifty packages more to every environment on the host.
NEEDED = ("mlflow-skinny", "pandas", "scikit-learn", "skops")

name = sys.argv[1] if len(sys.argv) > 1 else "iris"
features, species = load_iris(return_X_y=True, as_frame=True)
model = LogisticRegression(max_iter=500).fit(features, species)

mlflow.set_experiment(name)
with mlflow.start_run():
    mlflow.log_metric("training_accuracy", model.score(features, species))
    logged = mlflow.sklearn.log_model(
        model,
        name="model",
        signature=infer_signature(features, model.predict(features)),
        input_example=features.head(2),
        pip_requirements=[f"{package}=={version(package)}" for package in NEEDED],
    )
registered = mlflow.register_model(logged.model_uri, name)
sys.stdout.write(f"registered {name} version {registered.version}\n")
