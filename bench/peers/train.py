"""Measures training with PyTorch for bench: reads models that seqmix wrote and answers
the commands that ../protocol.go describes.

    python3 train.py THREADS

Models are written with plain tensor operations and autograd, in the fastest eager form
that we know: linear attention in the quadratic form, which at these lengths takes the
fewest operations, the scan of Mamba as one fused multiply-add per position, short
convolutions either by conv1d or by shifted products, whichever trains faster, and AdamW
on all parameters at once.
"""

import json
import math
import sys
import time

import torch
import torch.nn.functional as F

EPS = 1e-5


def read(path):
    """Returns the metadata and the tensors of a safetensors file of float32s."""
    with open(path, "rb") as f:
        data = bytearray(f.read())
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    metadata = header.pop("__metadata__")
    tensors = {}
    for name, t in header.items():
        lo, hi = t["data_offsets"]
        tensors[name] = torch.frombuffer(data, dtype=torch.float32, count=(hi - lo) // 4, offset=begin + lo).reshape(t["shape"]).clone()
    return metadata, tensors


class Model:
    def __init__(self, path):
        m, self.p = read(path)
        self.layers, self.heads = m["layers"].split(","), int(m["heads"])
        self.batch, self.length, self.every = int(m["batch"]), int(m["length"]), int(m["every"])
        for t in self.p.values():
            t.requires_grad_(True)
        ones = torch.ones(self.length, self.length)
        self.seen = ones.tril()
        self.mask = torch.zeros(self.length, self.length).masked_fill(self.seen == 0, -math.inf)
        self.vocabulary = self.p["embedding.weight"].shape[0]
        self.rows = torch.arange(self.every - 1, self.batch * self.length, self.every)
        self.batches = [self.tokens(step) for step in range(8)]
        self.conv = self.conv1d
        self.choose()

    def tokens(self, step):
        """The tokens and labels of a step, as trainBatch in ../trainee.go makes them."""
        i = torch.arange(self.batch * self.length) + step * self.batch * self.length
        draw = lambda factor: ((i * factor + 12345) % 2147483647) // 64 % self.vocabulary
        return draw(48271), draw(69621)[self.rows]

    def norm(self, x, prefix):
        weight, bias = self.p[prefix + "weight"], self.p.get(prefix + "bias")
        if bias is not None:
            return F.layer_norm(x, x.shape[-1:], weight, bias, EPS)
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS) * weight

    def linear(self, x, name):
        return F.linear(x, self.p[name + ".weight"], self.p.get(name + ".bias"))

    def conv1d(self, x, name):
        w = self.p[name + ".weight"]
        y = F.conv1d(x.transpose(1, 2), w, self.p.get(name + ".bias"), padding=w.shape[2] - 1, groups=w.shape[0])
        return y[:, :, : x.shape[1]].transpose(1, 2)

    def shifted(self, x, name):
        w, bias = self.p[name + ".weight"], self.p.get(name + ".bias")
        taps = w.shape[2]
        padded = F.pad(x, (0, 0, taps - 1, 0))
        y = x * w[:, 0, taps - 1] if bias is None else torch.addcmul(bias, x, w[:, 0, taps - 1])
        for k in range(taps - 1):
            y = torch.addcmul(y, padded[:, k : k + x.shape[1]], w[:, 0, k])
        return y

    def split(self, x):
        """(batch, length, heads·d) as (batch·heads, length, d)."""
        b, n, width = x.shape
        return x.reshape(b, n, self.heads, width // self.heads).transpose(1, 2).reshape(b * self.heads, n, -1)

    def join(self, x, b):
        return x.reshape(b, self.heads, x.shape[1], -1).transpose(1, 2).reshape(b, x.shape[1], -1)

    def attention(self, x, at):
        q, k, v = map(self.split, self.linear(x, at + "Wqkv").chunk(3, dim=-1))
        scores = torch.baddbmm(self.mask, q, k.transpose(1, 2), alpha=q.shape[-1] ** -0.5)
        return self.linear(self.join(torch.bmm(scores.softmax(-1), v), x.shape[0]), at + "out_proj")

    def based(self, x, at):
        q, k, v = (self.split(self.linear(x, at + "proj_" + name)) for name in "qkv")
        s = torch.bmm(q * q.shape[-1] ** -0.5, k.transpose(1, 2))
        w = torch.addcmul(s + 1, s, s, value=0.5) * self.seen
        y = torch.bmm(w, v) / (w.sum(-1, keepdim=True) + 1e-12)
        return self.linear(self.join(y, x.shape[0]), at + "proj_o")

    def baseconv(self, x, at):
        return torch.addcmul(x, self.conv(x, at + "conv.conv"), self.linear(x, at + "projection"))

    def gatedconv(self, x, at):
        u, z = self.linear(x, at + "in_proj").chunk(2, dim=-1)
        return self.linear(F.silu(self.conv(u, at + "conv.conv")) * z, at + "out_proj")

    def glu(self, x, at):
        return self.linear(F.silu(self.linear(x, at + "gate_proj")) * self.linear(x, at + "up_proj"), at + "down_proj")

    def mamba(self, x, at):
        u, z = self.linear(x, at + "in_proj").chunk(2, dim=-1)
        u = F.silu(self.conv(u, at + "conv1d"))
        a = -torch.exp(self.p[at + "A_log"])
        n = a.shape[1]
        low = self.linear(u, at + "x_proj")
        step, b, c = low.split([low.shape[-1] - 2 * n, n, n], dim=-1)
        delta = F.softplus(self.linear(step, at + "dt_proj"))
        decay = torch.exp(delta[..., None] * a)
        entering = (delta * u)[..., None] * b[:, :, None, :]
        state, states = torch.zeros_like(entering[:, 0]), []
        for e, keep in zip(entering.unbind(1), decay.unbind(1)):
            state = torch.addcmul(e, keep, state)
            states.append(state)
        y = torch.matmul(torch.stack(states, 1), c[..., None])[..., 0]
        return self.linear(torch.addcmul(y, u, self.p[at + "D"]) * F.silu(z), at + "out_proj")

    def loss(self, step):
        ids, labels = self.batches[step % len(self.batches)]
        x = F.embedding(ids, self.p["embedding.weight"]).reshape(self.batch, self.length, -1)
        for i, kind in enumerate(self.layers):
            at = "layers.%d." % i
            if kind == "norm":
                x = x + self.norm(x, at + "mixer.")
            else:
                x = x + getattr(self, kind)(self.norm(x, at + "norm."), at + "mixer.")
        x = self.norm(x, "norm.").reshape(self.batch * self.length, -1)
        if self.every > 1:
            x = x[self.rows]
        return F.cross_entropy(F.linear(x, self.p["embedding.weight"]), labels)

    def choose(self):
        """Finds out which way of a short convolution trains faster."""
        times = {}
        for way in (self.conv1d, self.shifted) * 3:
            self.conv = way
            begin = time.monotonic()
            self.loss(0).backward()
            times[way] = min(times.get(way, 1e9), time.monotonic() - begin)
        self.conv = min(times, key=times.get)
        self.at = 0
        self.optimizer = torch.optim.AdamW(self.p.values(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, foreach=True)

    def steps(self, n):
        losses = []
        for _ in range(n):
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.loss(self.at)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
            self.at += 1
        return losses


def main():
    torch.set_num_threads(int(sys.argv[1]))
    model = None
    print(json.dumps({"version": torch.__version__}), flush=True)
    for line in sys.stdin:
        command, argument = line.split(maxsplit=1)
        begin = time.monotonic()
        if command == "open":
            model = Model(argument.strip().split(maxsplit=1)[1])
            answer = {}
        elif command == "steps":
            answer = {"losses": model.steps(int(argument)), "how": model.conv.__name__}
        else:
            answer = {"error": "unknown command"}
        answer["seconds"] = time.monotonic() - begin
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
