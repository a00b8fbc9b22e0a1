"""Makes checkpoint.pt, legacy.pt, views.pt and checkpoint.safetensors (PyTorch 2.15, safetensors 0.8)."""
import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file

here = Path(__file__).parent
torch.manual_seed(0)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = torch.nn.GRU(3, 5)
        self.head = torch.nn.Linear(5, 2)


model = Model().double()
adam = torch.optim.Adam(model.parameters())
model.head(model.gru(torch.randn(4, 1, 3).double())[0]).sum().backward()
adam.step()
state = model.state_dict()
save_file(state, here / "checkpoint.safetensors")
args = argparse.Namespace(hidden=5, out=Path("runs"))
everything = {"epoch": 3, "best": 0.25, "model_state": state, "optimizer": adam.state_dict(), "args": args}
torch.save(everything, here / "checkpoint.pt")
# A view with strides, a view into a larger storage, and two names of one tensor.
large = torch.arange(20, dtype=torch.float32)
views = {"strided": large[:12].reshape(3, 4).t(), "part": large[5:9], "tied.a": large, "tied.b": large, "half": large[:3].bfloat16()}
torch.save(views, here / "views.pt")
torch.save(everything, here / "legacy.pt", _use_new_zipfile_serialization=False)
