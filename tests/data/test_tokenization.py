import numpy as np
import pytest
from tokenizers import pre_tokenizers, processors

from muka_fast.data.corpus import Corpus
from muka_fast.data.tokenization import tokenize
from tests.helpers.models import WORDS, make_tokenizer, texts

LONG = [" ".join(WORDS), "play [SEP] music [CLS] " * 6, "flight [PAD] hotel " * 5, "play", *texts(20)]
SPECIAL = [("[CLS]", 2), ("[SEP]", 3)]
TEMPLATES = {
    "bert": processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2)),
    "roberta": processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2)),
    "start": processors.TemplateProcessing(single="[CLS] $A", pair="[CLS] $A $B:1", special_tokens=SPECIAL),
    "end": processors.TemplateProcessing(single="$A [SEP]", pair="$A [SEP] $B:1 [SEP]:1", special_tokens=SPECIAL),
    "types": processors.TemplateProcessing(
        single="[CLS]:2 [CLS]:2 $A:1 [SEP]:3", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=SPECIAL
    ),
    "none": processors.ByteLevel(),
}


class Counting:
    """A tokenizer that knows how often it was called."""

    def __init__(self, tokenizer):
        self.tokenizer, self.calls = tokenizer, 0

    def __call__(self, *given, **options):
        self.calls += 1
        return self.tokenizer(*given, **options)

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)


def corpus(pairs=None):
    return Corpus(tuple(LONG), None if pairs is None else tuple(pairs), np.arange(len(LONG), dtype=np.uint64))


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("paired", [False, True])
def test_texts_are_cut_as_their_tokenizer_cuts_them(tmp_path, template, side, paired):
    tokenizer = make_tokenizer(tmp_path)
    tokenizer.backend_tokenizer.post_processor = TEMPLATES[template]
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.truncation_side = side
    pairs = [text[::2] for text in reversed(LONG)] if paired else None
    for most in (5, 9, 16):
        counting = Counting(tokenizer)
        found = tokenize(counting, corpus(pairs), most)
        for index, (text, row) in enumerate(zip(LONG, found.encodings, strict=True)):
            both = (text,) if pairs is None else (text, pairs[index])
            expected = tokenizer(*both, truncation=True, max_length=most)
            assert {key: values.tolist() for key, values in row.items()} == dict(expected)
            assert found.untruncated_lengths[index] == len(tokenizer(*both)["input_ids"])
        assert found.lengths.max() == most < found.untruncated_lengths.max()
        assert paired or counting.calls == 1


def test_where_special_tokens_alone_fill_the_length_the_tokenizer_decides(tmp_path):
    tokenizer = make_tokenizer(tmp_path)
    found = tokenize(tokenizer, corpus(), 2)
    assert found.encodings[0]["input_ids"].tolist() == tokenizer(LONG[0], truncation=True, max_length=2)["input_ids"]


def test_tokenizers_in_python_cut_by_themselves(tmp_path):
    tokenizer = make_tokenizer(tmp_path)

    class Slow(Counting):
        def __call__(self, *given, **options):
            encoded = super().__call__(*given, **options)
            encoded._encodings = None
            return encoded

    slow = Slow(tokenizer)
    found = tokenize(slow, corpus(), 6)
    assert slow.calls == 1 + int((found.untruncated_lengths > 6).sum())
    for ours, theirs in zip(found.encodings, tokenize(tokenizer, corpus(), 6).encodings, strict=True):
        assert all(np.array_equal(ours[key], theirs[key]) for key in theirs)
