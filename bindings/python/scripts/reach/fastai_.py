"""fastai's AWD-LSTM language model with its defaults, on documents of about 100 tokens."""

from __future__ import annotations

import random

import numpy as np
import pandas as pd
import torch
from fastai.text.all import AWD_LSTM, ColReader, DataBlock, RandomSplitter, TextBlock, language_model_learner
from row import watched

import bptt.torch

random.seed(0)
torch.manual_seed(0)
words = [f"w{i}" for i in range(40)]
documents = [" ".join(random.choices(words, k=random.randint(60, 140))) for _ in range(60)]
block = DataBlock(
    blocks=TextBlock.from_df("text", is_lm=True, min_freq=1), get_x=ColReader("text"), splitter=RandomSplitter(0.1, seed=0)
)
loaders = block.dataloaders(pd.DataFrame({"text": documents}), bs=4, seq_len=72, num_workers=0)
learner = language_model_learner(loaders, AWD_LSTM, pretrained=False)
beginning = loaders.vocab.index("xxbos")
counts = np.zeros(4, int)


def annotate(module, args):
    """Documents begin with the token xxbos."""
    global counts
    ids = (args[0] == beginning).cpu().numpy().cumsum(1) + counts[: len(args[0]), None]
    counts[: len(args[0])] = ids[:, -1]
    seen.annotate(ids=ids)


learner.model.register_forward_pre_hook(annotate)
with bptt.torch.watch(learner.model, every=1) as seen, learner.no_bar(), learner.no_logging():
    learner.fit(1)
print(*seen.facts, sep="\n")
updates = [update for update in seen.updates if "rnns.0" in update.module]
watched("fastai AWD-LSTM (seq_len 72)", "fastai", updates, note="ids: documents of 60 to 140 tokens")
