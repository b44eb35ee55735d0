"""OpenCV: decoding, thresholds and shapes of an image."""

import cv2
import numpy as np
from mlflow.pyfunc.model import PythonModel


class Model(PythonModel):
    """Bright shapes on a dark ground."""

    def predict(self, context, model_input):
        """Return [width, height, number of shapes, their pixels, width after halving the size]."""
        content = np.frombuffer(bytes(model_input[1]["image"]["content"]), dtype=np.uint8)
        grey = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)
        _, bright = cv2.threshold(grey, 127, 255, cv2.THRESH_BINARY)
        shapes, _, stats, _ = cv2.connectedComponentsWithStats(bright)
        half = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        pixels = stats[1:, cv2.CC_STAT_AREA].sum()
        height, width = grey.shape
        return [width, height, shapes - 1, int(pixels), half.shape[1]], "inconclusive"
