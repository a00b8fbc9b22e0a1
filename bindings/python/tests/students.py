"""Right solutions of the homeworks that `bptt.checks` knows. test_checks.py plants mistakes in them."""

import types

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


# CS231n: batch-first, tuples, a cache of one's own.


def rnn_step_forward(x, prev_h, Wx, Wh, b):
    next_h = np.tanh(x @ Wx + prev_h @ Wh + b)
    return next_h, (x, prev_h, Wx, Wh, next_h)


def rnn_step_backward(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    da = dnext_h * (1 - next_h**2)
    dx = da @ Wx.T
    dprev_h = da @ Wh.T
    dWx = x.T @ da
    dWh = prev_h.T @ da
    db = da.sum(axis=0)
    return dx, dprev_h, dWx, dWh, db


def rnn_forward(x, h0, Wx, Wh, b):
    h, caches, last = [], [], h0
    for t in range(x.shape[1]):
        last, cache = rnn_step_forward(x[:, t], last, Wx, Wh, b)
        h.append(last)
        caches.append(cache)
    return np.stack(h, axis=1), caches


def rnn_backward(dh, cache):
    N, T, H = dh.shape
    x, _, Wx, Wh, _ = cache[0]
    dx, dprev_h = np.zeros((N, T, x.shape[1])), np.zeros((N, H))
    dWx, dWh, db = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros(H)
    for t in reversed(range(T)):
        dx[:, t], dprev_h, dWx_t, dWh_t, db_t = rnn_step_backward(dh[:, t] + dprev_h, cache[t])
        dWx += dWx_t
        dWh += dWh_t
        db += db_t
    return dx, dprev_h, dWx, dWh, db


def lstm_step_forward(x, prev_h, prev_c, Wx, Wh, b):
    H = prev_h.shape[1]
    a = x @ Wx + prev_h @ Wh + b
    i, f, o = sigmoid(a[:, :H]), sigmoid(a[:, H : 2 * H]), sigmoid(a[:, 2 * H : 3 * H])
    g = np.tanh(a[:, 3 * H :])
    next_c = f * prev_c + i * g
    next_h = o * np.tanh(next_c)
    return next_h, next_c, {"in": (x, prev_h, prev_c, Wx, Wh), "gates": (i, f, o, g), "out": (next_h, next_c), "a": a}


def lstm_step_backward(dnext_h, dnext_c, cache):
    x, prev_h, prev_c, Wx, Wh = cache["in"]
    i, f, o, g = cache["gates"]
    next_h, next_c = cache["out"]
    dc = dnext_c + dnext_h * o * (1 - np.tanh(next_c) ** 2)
    do = dnext_h * np.tanh(next_c)
    di = dc * g
    df = dc * prev_c
    dg = dc * i
    dprev_c = dc * f
    da_i = di * i * (1 - i)
    da_f = df * f * (1 - f)
    da_o = do * o * (1 - o)
    da_g = dg * (1 - g**2)
    da = np.hstack([da_i, da_f, da_o, da_g])
    dx = da @ Wx.T
    dprev_h = da @ Wh.T
    dWx = x.T @ da
    dWh = prev_h.T @ da
    db = da.sum(axis=0)
    return dx, dprev_h, dprev_c, dWx, dWh, db


def lstm_forward(x, h0, Wx, Wh, b):
    h, caches, last, c = [], [], h0, np.zeros_like(h0)
    for t in range(x.shape[1]):
        last, c, cache = lstm_step_forward(x[:, t], last, c, Wx, Wh, b)
        h.append(last)
        caches.append(cache)
    return np.stack(h, axis=1), caches


def lstm_backward(dh, cache):
    N, T, H = dh.shape
    dx, dWx, dWh, db = [], 0, 0, 0
    dprev_h, dprev_c = np.zeros((N, H)), np.zeros((N, H))
    for t in reversed(range(T)):
        back = lstm_step_backward(dh[:, t] + dprev_h, dprev_c, cache[t])
        dx_t, dprev_h, dprev_c, dWx_t, dWh_t, db_t = back
        dx.insert(0, dx_t)
        dWx = dWx + dWx_t
        dWh = dWh + dWh_t
        db = db + db_t
    return np.stack(dx, axis=1), dprev_h, dWx, dWh, db


def gru_step_forward(x, prev_h, Wx, Wh, b):
    H = prev_h.shape[1]
    from_x, from_h = x @ Wx + b, prev_h @ Wh
    r = sigmoid(from_x[:, :H] + from_h[:, :H])
    z = sigmoid(from_x[:, H : 2 * H] + from_h[:, H : 2 * H])
    q = from_h[:, 2 * H :]
    n = np.tanh(from_x[:, 2 * H :] + r * q)
    next_h = (1 - z) * n + z * prev_h
    return next_h, types.SimpleNamespace(x=x, prev_h=prev_h, Wx=Wx, Wh=Wh, r=r, z=z, n=n, q=q, next_h=next_h)


def gru_step_backward(dnext_h, cache):
    r, z, n, q, prev_h = cache.r, cache.z, cache.n, cache.q, cache.prev_h
    dz = dnext_h * (prev_h - n)
    dn = dnext_h * (1 - z)
    da_n = dn * (1 - n**2)
    dq = da_n * r
    da_r = da_n * q * r * (1 - r)
    da_z = dz * z * (1 - z)
    da_x = np.hstack([da_r, da_z, da_n])
    da_h = np.hstack([da_r, da_z, dq])
    dx = da_x @ cache.Wx.T
    dprev_h = da_h @ cache.Wh.T + dnext_h * z
    dWx = cache.x.T @ da_x
    dWh = prev_h.T @ da_h
    db = da_x.sum(axis=0)
    return dx, dprev_h, dWx, dWh, db


def gru_forward(x, h0, Wx, Wh, b):
    h, caches = [h0], []
    for t in range(x.shape[1]):
        last, cache = gru_step_forward(x[:, t], h[-1], Wx, Wh, b)
        h.append(last)
        caches.append(cache)
    return np.stack(h[1:], axis=1), caches


def gru_backward(dh, cache):
    N, T, H = dh.shape
    dprev_h, dx = np.zeros((N, H)), np.zeros((N, T, cache[0].x.shape[1]))
    dWx, dWh, db = np.zeros_like(cache[0].Wx), np.zeros_like(cache[0].Wh), np.zeros(3 * H)
    for t in range(T - 1, -1, -1):
        dx[:, t], dprev_h, *parts = gru_step_backward(dh[:, t] + dprev_h, cache[t])
        for total, part in zip((dWx, dWh, db), parts, strict=True):
            total += part
    return dx, dprev_h, dWx, dWh, db


# deeplearning.ai: batch in the second place, dictionaries, the course's cache.


def rnn_cell_forward(xt, a_prev, parameters):
    a_next = np.tanh(parameters["Wax"] @ xt + parameters["Waa"] @ a_prev + parameters["ba"])
    return a_next, parameters["Wya"] @ a_next + parameters["by"], (a_next, a_prev, xt, parameters)


def rnn_cell_backward(da_next, cache):
    a_next, a_prev, xt, parameters = cache
    dz = (1 - a_next**2) * da_next
    return {
        "dxt": parameters["Wax"].T @ dz,
        "da_prev": parameters["Waa"].T @ dz,
        "dWax": dz @ xt.T,
        "dWaa": dz @ a_prev.T,
        "dba": dz.sum(axis=1, keepdims=True),
    }


def dai_rnn_forward(x, a0, parameters):
    a, y, caches, last = [], [], [], a0
    for t in range(x.shape[2]):
        last, y_t, cache = rnn_cell_forward(x[:, :, t], last, parameters)
        a.append(last)
        y.append(y_t)
        caches.append(cache)
    return np.stack(a, axis=2), np.stack(y, axis=2), (caches, x)


def dai_rnn_backward(da, caches):
    steps, x = caches
    parameters = steps[0][3]
    dx, da_prev = np.zeros(x.shape), np.zeros(da.shape[:2])
    total = {name: np.zeros_like(parameters[name[1:]]) for name in ("dWax", "dWaa", "dba")}
    for t in reversed(range(x.shape[2])):
        back = rnn_cell_backward(da[:, :, t] + da_prev, steps[t])
        dx[:, :, t], da_prev = back["dxt"], back["da_prev"]
        for name in total:
            total[name] += back[name]
    return {"dx": dx, "da0": da_prev, **total}


def lstm_cell_forward(xt, a_prev, c_prev, parameters):
    both = np.concatenate([a_prev, xt])
    ft, it, ot = (sigmoid(parameters[f"W{k}"] @ both + parameters[f"b{k}"]) for k in "fio")
    cct = np.tanh(parameters["Wc"] @ both + parameters["bc"])
    c_next = ft * c_prev + it * cct
    a_next = ot * np.tanh(c_next)
    cache = (a_next, c_next, a_prev, c_prev, ft, it, cct, ot, xt, parameters)
    return a_next, c_next, parameters["Wy"] @ a_next + parameters["by"], cache


def lstm_cell_backward(da_next, dc_next, cache):
    a_next, c_next, a_prev, c_prev, ft, it, cct, ot, xt, parameters = cache
    n_a = a_prev.shape[0]
    dc = dc_next + da_next * ot * (1 - np.tanh(c_next) ** 2)
    d = {
        "f": dc * c_prev * ft * (1 - ft),
        "i": dc * cct * it * (1 - it),
        "c": dc * it * (1 - cct**2),
        "o": da_next * np.tanh(c_next) * ot * (1 - ot),
    }
    both = np.concatenate([a_prev, xt])
    back = {"dc_prev": dc * ft}
    back["da_prev"] = sum(parameters[f"W{k}"][:, :n_a].T @ d[k] for k in "fico")
    back["dxt"] = sum(parameters[f"W{k}"][:, n_a:].T @ d[k] for k in "fico")
    for k in "fico":
        back[f"dW{k}"] = d[k] @ both.T
        back[f"db{k}"] = d[k].sum(axis=1, keepdims=True)
    return back


def dai_lstm_forward(x, a0, parameters):
    a, c, y, caches, last, memory = [], [], [], [], a0, np.zeros_like(a0)
    for t in range(x.shape[2]):
        last, memory, y_t, cache = lstm_cell_forward(x[:, :, t], last, memory, parameters)
        for found, value in zip((a, c, y, caches), (last, memory, y_t, cache), strict=True):
            found.append(value)
    return np.stack(a, axis=2), np.stack(y, axis=2), np.stack(c, axis=2), (caches, x)


def dai_lstm_backward(da, caches):
    steps, x = caches
    dx, da_prev, dc_prev = np.zeros(x.shape), np.zeros(da.shape[:2]), np.zeros(da.shape[:2])
    total = {}
    for t in reversed(range(x.shape[2])):
        back = lstm_cell_backward(da[:, :, t] + da_prev, dc_prev, steps[t])
        dx[:, :, t], da_prev, dc_prev = back["dxt"], back["da_prev"], back["dc_prev"]
        for name, value in back.items():
            if name not in ("dxt", "da_prev", "dc_prev"):
                total[name] = total.get(name, 0) + value
    return {"dx": dx, "da0": da_prev, **total}
