"""The same training step in PyTorch eager, written as its users write it: fused attention, AdamW, float32 or bfloat16.

Reads one JSON object from stdin, {layers, dim, heads, ffn, vocabulary, batch, seq, threads, dtype, steps}, and writes
{"version", "milliseconds": [...]} to stdout, one figure a step after three steps of warm-up. bench/src/cpu.ts runs it.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


class RMSNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, 1e-5)


def rotate(x, cos, sin):
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


class Block(nn.Module):
    def __init__(self, dim, heads, ffn):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = RMSNorm(dim), RMSNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.gate, self.up = nn.Linear(dim, ffn, bias=False), nn.Linear(dim, ffn, bias=False)
        self.down = nn.Linear(ffn, dim, bias=False)

    def forward(self, x, cos, sin):
        B, T, D = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        o = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True)
        x = x + self.out(o.transpose(1, 2).reshape(B, T, D))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    def __init__(self, layers, dim, heads, ffn, vocabulary):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dim)
        self.blocks = nn.ModuleList(Block(dim, heads, ffn) for _ in range(layers))
        self.norm = RMSNorm(dim)
        self.head = nn.Linear(dim, vocabulary, bias=False)

    def forward(self, tokens, targets, cos, sin):
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x, cos, sin)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


def main():
    c = json.load(sys.stdin)
    torch.set_num_threads(c["threads"])
    torch.manual_seed(0)
    dtype = getattr(torch, c["dtype"])
    model = Llama(c["layers"], c["dim"], c["heads"], c["ffn"], c["vocabulary"]).to(dtype)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    head_dim = c["dim"] // c["heads"]
    frequencies = 1e4 ** (-torch.arange(0, head_dim, 2).float() / head_dim)
    angles = torch.outer(torch.arange(c["seq"]).float(), frequencies).repeat(1, 2)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    tokens, targets = torch.randint(0, c["vocabulary"], (2, c["batch"], c["seq"]))
    milliseconds = []
    for _ in range(c["steps"] + 3):
        start = time.perf_counter()
        loss = model(tokens, targets, cos, sin)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        milliseconds.append(1000 * (time.perf_counter() - start))
    print(json.dumps({"version": torch.__version__, "milliseconds": milliseconds[3:]}))


main()
