"""pydicom: reads a DICOM file and its pixels."""

import io

import pydicom
from mlflow.pyfunc.model import PythonModel


class Model(PythonModel):
    """A slice, in the units of its modality."""

    def predict(self, context, model_input):
        """Return [rows, columns, mean of the rescaled pixels, largest of them]."""
        file = pydicom.dcmread(io.BytesIO(bytes(model_input[1]["slice"]["content"])))
        pixels = file.pixel_array * float(file.RescaleSlope) + float(file.RescaleIntercept)
        return [file.Rows, file.Columns, float(pixels.mean()), float(pixels.max())], "inconclusive"
