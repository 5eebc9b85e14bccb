"""Measures PyTorch for bench: loads a GGUF file with a Mamba and answers the commands
that ../protocol.go describes.

    python3 mamba.py MODEL THREADS

This is the fastest eager form that we know of: one fused multiply-add per position for
the scan, all else over whole sequences, in place where that is possible. Matrices of
bfloat16 multiply activations that are rounded to it; all else is float32.
"""

import json
import mmap
import struct
import sys
import time

import torch
import torch.nn.functional as F

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
DTYPES = {0: torch.float32, 1: torch.float16, 30: torch.bfloat16}


class Reader:
    """Reads a GGUF file: scalars and strings among its values, and its tensors."""

    def __init__(self, path):
        with open(path, "rb") as f:
            self.data = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY)
        magic, _, tensors, values = self.take("<4sIQQ")
        if magic != b"GGUF":
            raise ValueError(path + " is not a GGUF file")
        self.values = {}
        for _ in range(values):
            key = self.string()
            self.values[key] = self.value(self.take("<I")[0])
        entries = [self.entry() for _ in range(tensors)]
        begin = (self.at + 31) // 32 * 32
        self.tensors = {name: self.tensor(begin + offset, kind, shape) for name, shape, kind, offset in entries}

    at = 0

    def take(self, layout):
        fields = struct.unpack_from(layout, self.data, self.at)
        self.at += struct.calcsize(layout)
        return fields

    def string(self):
        (n,) = self.take("<Q")
        self.at += n
        return self.data[self.at - n : self.at].decode()

    def value(self, kind):
        return self.string() if kind == 8 else self.take("<" + SCALARS[kind])[0]

    def entry(self):
        name = self.string()
        (rank,) = self.take("<I")
        shape = self.take("<%dQ" % rank)[::-1]
        kind, offset = self.take("<IQ")
        return name, shape, kind, offset

    def tensor(self, at, kind, shape):
        count = 1
        for d in shape:
            count *= d
        # A copy, since memory of a mapped file has small pages.
        return torch.frombuffer(self.data, dtype=DTYPES[kind], count=count, offset=at).reshape(shape).clone()


def product(x, w):
    """x times the transpose of w, of one or more rows."""
    return F.linear(x.to(w.dtype), w).float()


def product_mv(x, w):
    """The same for one row, as a matrix times a vector."""
    return torch.mv(w, x[0].to(w.dtype)).float()[None]


def norm(x, weight, eps=1e-5):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


class Layer:
    def __init__(self, t, prefix):
        get = lambda name: t[prefix + name]
        self.norm = get("attn_norm.weight")
        self.into, self.out = get("ssm_in.weight"), get("ssm_out.weight")
        self.taps, self.taps_bias = get("ssm_conv1d.weight"), get("ssm_conv1d.bias")
        self.x, self.dt, self.dt_bias = get("ssm_x.weight"), get("ssm_dt.weight"), get("ssm_dt.bias")
        self.a, self.d = get("ssm_a"), get("ssm_d")
        self.reset()

    def reset(self):
        self.window = torch.zeros(self.taps.shape[0], self.taps.shape[1] - 1)  # the last inputs of the convolution
        self.state = torch.zeros_like(self.a)

    def parameters_of_scan(self, u, linear):
        rank, n = self.dt.shape[1], self.a.shape[1]
        step, b, c = linear(u, self.x).split([rank, n, n], dim=-1)
        return F.softplus(linear(step, self.dt) + self.dt_bias), b, c

    def prefill(self, x):
        length = x.shape[0]
        u, z = product(norm(x, self.norm), self.into).chunk(2, dim=-1)
        padded = torch.cat([self.window, u.t()], dim=1)
        self.window = padded[:, length:].clone()
        u = F.silu(F.conv1d(padded[None], self.taps[:, None], self.taps_bias, groups=padded.shape[0])[0].t()).contiguous()
        delta, b, c = self.parameters_of_scan(u, product)
        decay = torch.mul(delta[:, :, None], self.a).exp_()
        states = (delta * u)[:, :, None] * b[:, None, :]
        state = self.state
        for entering, keep in zip(states.unbind(0), decay.unbind(0)):
            state = torch.addcmul(entering, keep, state, out=entering)
        self.state = state.clone()
        y = torch.bmm(states, c[:, :, None])[:, :, 0].addcmul_(u, self.d)
        return x + product(y.mul_(F.silu(z)), self.out)

    def step(self, x, linear):
        u, z = linear(norm(x, self.norm), self.into).chunk(2, dim=-1)
        padded = torch.cat([self.window, u.t()], dim=1)
        self.window = padded[:, 1:]
        u = F.silu((padded * self.taps).sum(1) + self.taps_bias)[None]
        delta, b, c = self.parameters_of_scan(u, linear)
        decay = torch.mul(delta[0, :, None], self.a).exp_()
        self.state = torch.addcmul((delta * u)[0, :, None] * b, decay, self.state)
        y = torch.mv(self.state, c[0])[None].addcmul_(u, self.d)
        return x + linear(y.mul_(F.silu(z)), self.out)


class Mamba:
    def __init__(self, path):
        reader = Reader(path)
        t = reader.tensors
        self.embedding, self.norm = t["token_embd.weight"], t["output_norm.weight"]
        self.layers = [Layer(t, "blk.%d." % i) for i in range(reader.values["mamba.block_count"])]
        self.linear = None  # the faster way to multiply one row
        self.reset()

    def reset(self):
        self.at = 0
        self.logits = None
        for layer in self.layers:
            layer.reset()

    def next(self, n):
        ids = torch.arange(self.at, self.at + n) * 7919 % self.embedding.shape[0]
        self.at += n
        return self.embedding[ids].float()

    def prefill(self, n):
        self.reset()
        x = self.next(n)
        for layer in self.layers:
            x = layer.prefill(x)
        self.logits = product_mv(norm(x[-1:], self.norm), self.embedding)[0]

    def step(self, linear):
        x = self.next(1)
        for layer in self.layers:
            x = layer.step(x, linear)
        self.logits = linear(norm(x, self.norm), self.embedding)[0]

    def choose(self):
        """Finds out which way of multiplying one row is faster."""
        before = self.at, [(layer.window, layer.state) for layer in self.layers]
        times = {}
        for linear in (product, product_mv) * 3:
            begin = time.monotonic()
            self.step(linear)
            times[linear] = min(times.get(linear, 1e9), time.monotonic() - begin)
        self.linear = min(times, key=times.get)
        self.at = before[0]
        for layer, (layer.window, layer.state) in zip(self.layers, before[1]):
            pass


def answer(model, line):
    if line == ["logits"]:
        return {"logits": model.logits.tolist()}
    command, n = line[0], int(line[1])
    if command == "decode" and model.linear is None:
        model.choose()
    begin = time.monotonic()
    if command == "prefill":
        model.prefill(n)
        return {"seconds": time.monotonic() - begin}
    if command == "decode":
        for _ in range(n):
            model.step(model.linear)
        return {"seconds": time.monotonic() - begin, "how": "F.linear" if model.linear is product else "torch.mv"}
    return {"error": "unknown command"}


def main():
    torch.set_num_threads(int(sys.argv[2]))
    with torch.inference_mode():
        model = Mamba(sys.argv[1])
        print(json.dumps({"version": torch.__version__}), flush=True)
        for line in sys.stdin:
            print(json.dumps(answer(model, line.split())), flush=True)


if __name__ == "__main__":
    main()
