# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # A language model of nn.LSTM
#
# Brackets have to be closed in the order in which they were opened: the model has to remember across a clause. Which characters does
# the gradient of a closing bracket come from?

# %%
import random

import torch
from torch import nn

import bptt.torch

random.seed(0)
torch.manual_seed(0)
LETTERS = "abcdefgh()[]. "


def clause(depth: int) -> str:
    word = "".join(random.choice("abcdefgh") for _ in range(random.randint(2, 6)))
    if depth == 0 or random.random() < 0.3:
        return word
    opening, closing = random.choice(["()", "[]"])
    return f"{word} {opening}{clause(depth - 1)}{closing}"


text = ". ".join(clause(2) for _ in range(3000))
ids = torch.tensor([LETTERS.index(letter) for letter in text])


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(LETTERS), 16)
        self.lstm = nn.LSTM(16, 48)
        self.head = nn.Linear(48, len(LETTERS))


model = Model()
optimizer = torch.optim.Adam(model.parameters(), 5e-3)
STEPS, BATCH = 64, 16

# %%
with bptt.torch.watch(model, every=50) as seen:
    for _ in range(120):
        starts = torch.randint(len(ids) - STEPS - 1, (BATCH,))
        x = torch.stack([ids[i : i + STEPS] for i in starts], dim=1)
        y = torch.stack([ids[i + 1 : i + STEPS + 1] for i in starts], dim=1)
        logits = model.head(model.lstm(model.embedding(x))[0])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
print([(update.count, update.horizon) for update in seen.updates])
assert seen.alarms == []

# %% [markdown]
# The ledger of one sentence: each loss by the characters that its gradient comes from.

# %%
sentence = "abc [defgh (ab)]. "
x = torch.tensor([[LETTERS.index(letter)] for letter in sentence[:-1]])
y = torch.tensor([[LETTERS.index(letter)] for letter in sentence[1:]])
ledger = bptt.torch.ledger(
    model.lstm,
    model.embedding(x).detach(),
    loss=lambda h: nn.functional.cross_entropy(model.head(h).transpose(1, 2), y, reduction="none"),
    check=True,
)
k = sentence.index("]") - 1
parts = ledger.norms()[k, : k + 1]
print(" ".join(f"{letter}:{part / parts.sum():.0%}" for letter, part in zip(sentence, parts)))
ledger
