"""Matplotlib: draws a figure, with fonts that it searches for and lists in a cache."""

import io

from matplotlib.figure import Figure
from matplotlib.image import imread
from mlflow.pyfunc.model import PythonModel


class Model(PythonModel):
    """A figure of a known size and colour."""

    def predict(self, context, model_input):
        """Return [width, height, red and green of its first pixel, 1 if the title left ink]."""
        figure = Figure(figsize=(4, 2), dpi=50, facecolor=(1.0, 0.5, 0.0))
        figure.subplots().plot([0, 1], [0, 1])
        figure.suptitle("pauses")
        png = io.BytesIO()
        figure.savefig(png, format="png")
        png.seek(0)
        pixels = imread(png)
        height, width, _ = pixels.shape
        has_ink = float(pixels[:15, :, 0].min() < 0.5)
        return [width, height, *map(float, pixels[0, 0, :2]), has_ink], "inconclusive"
