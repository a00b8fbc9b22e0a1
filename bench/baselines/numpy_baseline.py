"""The baseline for NumPy."""

import common  # first: it limits the threads of what loads after it

import numpy as np

import numpy_itemize
import numpy_train

if __name__ == "__main__":
    common.Baseline("numpy", np.__version__, {"train": numpy_train.FORMS, "itemize": numpy_itemize.FORMS}).serve()
