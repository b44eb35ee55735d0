"""transformers: a tiny BERT with random weights, and a tokenizer made of a list of words."""

import torch
from mlflow.pyfunc.model import PythonModel
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

WORDS = ["[PAD]", "[UNK]", "pauses", "in", "speech", "are", "short"]


class Model(PythonModel):
    """What holds of every BERT, whatever its weights."""

    def load_context(self, context):
        """Make both with a fixed seed."""
        words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")
        torch.manual_seed(7)
        config = BertConfig(
            vocab_size=len(WORDS),
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=128,
            attn_implementation="eager",
        )
        self.bert = BertModel(config).eval()

    def predict(self, context, model_input):
        """Return [tokens, mean of the last state, its mean square, largest sum of an attention's row], the tokens."""
        tokens = self.tokenizer([model_input[0]["text"]], return_tensors="pt")
        with torch.no_grad():
            said = self.bert(**tokens, output_attentions=True)
        last, sums = said.last_hidden_state, said.attentions[0].sum(-1)
        numbers = [tokens.input_ids.shape[1], last.mean().item(), last.square().mean().item(), sums.max().item()]
        return [*map(float, numbers), *map(float, tokens.input_ids[0])], "inconclusive"
