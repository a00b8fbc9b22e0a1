"""The baseline for PyTorch."""

import common  # first: it limits the threads of what loads after it

import torch

import pytorch_itemize
import pytorch_train

if __name__ == "__main__":
    torch.set_num_threads(common.THREADS)
    forms = {"train": pytorch_train.FORMS, "itemize": pytorch_itemize.FORMS}
    common.Baseline("pytorch", torch.__version__, forms).serve()
