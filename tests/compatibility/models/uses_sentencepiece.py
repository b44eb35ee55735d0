"""SentencePiece: learns pieces of words, and gives back the text that it was given."""

import io

import sentencepiece
from mlflow.pyfunc.model import PythonModel

TEXT = ["pauses in speech are short", "short pauses are in speech", "speech is short"]


class Model(PythonModel):
    """A vocabulary learned when it is loaded."""

    def load_context(self, context):
        """Learn in memory."""
        learned = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TEXT * 20),
            model_writer=learned,
            vocab_size=24,
            model_type="bpe",
            minloglevel=2,
        )
        self.pieces = sentencepiece.SentencePieceProcessor(model_proto=learned.getvalue())

    def predict(self, context, model_input):
        """Return [size of the vocabulary, 1 if the decoded pieces are the text again]."""
        pieces = self.pieces.encode(model_input[0]["text"])
        is_same = self.pieces.decode(pieces) == model_input[0]["text"]
        return [float(self.pieces.get_piece_size()), float(is_same)], "inconclusive"
