"""Makes paddle_*.npz and paddle.npz (paddlepaddle 3.3.1 on the CPU, numpy 2.4): layers of Paddle with their state_dict, and what they
compute in f64."""
import numpy
import paddle

from common import H, I, Proofs, T, here, norm, numbers, seeds, x

paddle.set_default_dtype("float64")
proofs = Proofs()


def case(name, layer):
    own = dict(layer.named_parameters())
    for n, key in enumerate(sorted(own)):
        own[key].set_value(numbers(2.0 + 0.37 * n, own[key].size).reshape(own[key].shape))
    losses = []
    for k in range(T):
        inputs = paddle.to_tensor(x[None], stop_gradient=False)
        y = layer(inputs)[0][0]
        layer.clear_gradients()
        (y[k] * paddle.to_tensor(seeds(y.shape[1])[k])).sum().backward()
        of = lambda ending: [own[key].grad.numpy() for key in own if key.endswith(ending)]
        losses.append((inputs.grad.numpy()[0], [norm(*of(e)) for e in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0")]))
    proofs.add(name, y.numpy(), losses)
    numpy.savez(here / f"paddle_{name}.npz", **{f"layer.{key}": value.numpy() for key, value in layer.state_dict().items()})


case("lstm", paddle.nn.LSTM(I, H))
case("gru", paddle.nn.GRU(I, H))
case("bigru", paddle.nn.GRU(I, H, direction="bidirect"))
proofs.save("paddle.npz")
