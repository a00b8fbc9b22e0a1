"""Training passes in PyTorch."""

import common  # first: it limits the threads of what loads after it

import signal

import torch
import torch.nn.functional as F

import pytorch_cells
import pytorch_train_hand


class Nn:
    """PyTorch's own layers and autograd, fed a dense one-hot input."""

    def __init__(self, case):
        layer = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[case.cell]
        self.rnn = layer(case.V, case.H)
        self.head = torch.nn.Linear(case.H, case.V)
        self.params = {
            "w_ih": self.rnn.weight_ih_l0,
            "w_hh": self.rnn.weight_hh_l0,
            "b_ih": self.rnn.bias_ih_l0,
            "b_hh": self.rnn.bias_hh_l0,
            "w_hy": self.head.weight,
            "b_y": self.head.bias,
        }
        with torch.no_grad():
            for name, param in self.params.items():
                param.copy_(torch.from_numpy(getattr(case, name)))
        self.x = torch.from_numpy(case.one_hot())
        self.targets = torch.from_numpy(case.targets).flatten()

    def run(self):
        for param in self.params.values():
            param.grad = None
        out, _ = self.rnn(self.x)
        loss = F.cross_entropy(self.head(out.flatten(0, 1)), self.targets)
        loss.backward()
        return loss.detach()

    def check(self, loss):
        return common.train_check(loss, {name: param.grad for name, param in self.params.items()})


class Compile:
    """torch.compile of a loop over cells, and autograd.

    What is compiled is the loop over some of the steps: over all of them it is hardly faster and takes
    minutes to compile, and over a single one it is slower than what is not compiled.
    """

    seconds = 120  # after which compiling is given up
    most_steps = 20

    def __init__(self, case):
        self.params = {name: torch.from_numpy(getattr(case, name)).requires_grad_() for name in common.PARAMS}
        self.ids, self.targets = torch.from_numpy(case.ids), torch.from_numpy(case.targets).flatten()
        self.start = pytorch_cells.start(case.cell, case.B, case.H)
        self.steps = max(steps for steps in range(1, self.most_steps + 1) if case.T % steps == 0)
        torch._inductor.config.compile_threads = 1  # more would be processes of their own
        torch._dynamo.reset()  # what was compiled for other cases would count as recompiling
        self.loop = torch.compile(self.loop_of(case.cell), dynamic=False)
        self.compile()

    def compile(self):
        def give_up(*_):
            raise TimeoutError

        signal.signal(signal.SIGALRM, give_up)
        signal.alarm(self.seconds)
        try:
            self.run()
        except Exception as error:
            if signal.alarm(0):  # there were seconds left
                raise
            raise common.Impossible(f"compiling takes more than {self.seconds} s") from error
        finally:
            signal.alarm(0)

    @staticmethod
    def loop_of(cell):
        def loop(inputs, state, w_hh, b_hh):
            outputs = []
            for a in inputs.unbind():
                state = pytorch_cells.step(cell, a, F.linear(state[0], w_hh, b_hh), state)
                outputs.append(state[0])
            return torch.stack(outputs), state

        return loop

    def run(self):
        params = self.params
        for param in params.values():
            param.grad = None
        inputs = F.embedding(self.ids, params["w_ih"].t()) + params["b_ih"]
        state, outputs = self.start, []
        for some in inputs.split(self.steps):
            h, state = self.loop(some, state, params["w_hh"], params["b_hh"])
            outputs.append(h)
        y = F.linear(torch.cat(outputs).flatten(0, 1), params["w_hy"], params["b_y"])
        loss = F.cross_entropy(y, self.targets)
        loss.backward()
        return loss.detach()

    def check(self, loss):
        return common.train_check(loss, {name: param.grad for name, param in self.params.items()})


FORMS = {"nn": Nn, "hand": pytorch_train_hand.hand, "compile": Compile}
