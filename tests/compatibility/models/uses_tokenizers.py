"""tokenizers: learns pairs of letters, with threads of its own."""

from mlflow.pyfunc.model import PythonModel
from tokenizers import Tokenizer, models, pre_tokenizers, trainers


class Model(PythonModel):
    """A vocabulary learned when it is loaded."""

    def load_context(self, context):
        """Learn from a text in which only one pair is frequent."""
        self.pieces = Tokenizer(models.BPE(unk_token="?"))
        self.pieces.pre_tokenizer = pre_tokenizers.Whitespace()
        trainer = trainers.BpeTrainer(vocab_size=5, special_tokens=["?"], show_progress=False)
        self.pieces.train_from_iterator(["ab " * 1000 + "c"], trainer)

    def predict(self, context, model_input):
        """Return [size of the vocabulary, the pieces of the text]."""
        found = self.pieces.encode(model_input[0]["text"])
        return [float(self.pieces.get_vocab_size()), *map(float, found.ids)], "inconclusive"
