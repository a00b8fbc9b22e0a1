"""The baseline for JAX."""

import common  # first: it limits the threads of what loads after it

import jax_itemize
import jax_train

import jax

if __name__ == "__main__":
    common.Baseline("jax", jax.__version__, {"train": jax_train.FORMS, "itemize": jax_itemize.FORMS}).serve()
