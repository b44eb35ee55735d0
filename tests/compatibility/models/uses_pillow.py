"""Pillow: decodes, resizes, draws text and encodes."""

import io

from mlflow.pyfunc.model import PythonModel
from PIL import Image, ImageDraw, ImageStat


class Model(PythonModel):
    """Sizes and brightness of an image, before and after JPEG."""

    def predict(self, context, model_input):
        """Return [width, height, mean brightness, that of its JPEG, width of the image turned, pixels of a text]."""
        image = Image.open(io.BytesIO(bytes(model_input[1]["image"]["content"]))).convert("L")
        jpeg = io.BytesIO()
        image.save(jpeg, "JPEG", quality=95)
        again = Image.open(jpeg)
        page = Image.new("L", (40, 20))
        ImageDraw.Draw(page).text((2, 2), "ok", fill=255)
        brightness = [round(ImageStat.Stat(one).mean[0], 1) for one in (image, again)]
        has_text = float(page.getbbox() is not None)
        return [*image.size, *brightness, image.rotate(90, expand=True).width, has_text], "inconclusive"
