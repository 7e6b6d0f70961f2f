"""A Llama training step on one GPU in PyTorch, as its users write it: bfloat16 weights, fused attention, fused AdamW.

Reads one JSON object from stdin, {layers, dim, heads, kvHeads, ffn, vocabulary, tied, theta, batch, seq, warmup,
steps, recompute, compile}, and writes {"version", "cuda", "device", "milliseconds": [...], "peakBytes", "loss"} to
stdout. Times are the GPU's, from the end of one step to the end of the next. bench/src/gpu.ts runs it.
"""

import json
import sys

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint


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
    def __init__(self, c):
        super().__init__()
        dim, ffn = c["dim"], c["ffn"]
        self.heads, self.kv_heads, self.head_dim = c["heads"], c["kvHeads"], dim // c["heads"]
        self.norm1, self.norm2 = RMSNorm(dim), RMSNorm(dim)
        self.qkv = nn.Linear(dim, (self.heads + 2 * self.kv_heads) * self.head_dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.gate, self.up = nn.Linear(dim, ffn, bias=False), nn.Linear(dim, ffn, bias=False)
        self.down = nn.Linear(ffn, dim, bias=False)

    def forward(self, x, cos, sin):
        B, T, D = x.shape
        heads = self.qkv(self.norm1(x)).view(B, T, -1, self.head_dim).transpose(1, 2)
        q, k, v = heads.split((self.heads, self.kv_heads, self.kv_heads), dim=1)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        grouped = self.heads != self.kv_heads
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
        x = x + self.out(o.transpose(1, 2).reshape(B, T, D))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.recompute = c["recompute"]
        self.embed = nn.Embedding(c["vocabulary"], c["dim"])
        self.blocks = nn.ModuleList(Block(c) for _ in range(c["layers"]))
        self.norm = RMSNorm(c["dim"])
        self.head = nn.Linear(c["dim"], c["vocabulary"], bias=False)
        for layer in self.modules():
            if isinstance(layer, (nn.Linear, nn.Embedding)):
                nn.init.normal_(layer.weight, std=0.02)
        if c["tied"]:
            self.head.weight = self.embed.weight

    def forward(self, tokens, targets, cos, sin):
        x = self.embed(tokens)
        for block in self.blocks:
            x = checkpoint(block, x, cos, sin, use_reentrant=False) if self.recompute else block(x, cos, sin)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


def tables(c, device):
    """RoPE's cosines and sines, [T, K]."""
    head_dim = c["dim"] // c["heads"]
    frequencies = c["theta"] ** (-torch.arange(0, head_dim, 2, device=device).float() / head_dim)
    angles = torch.outer(torch.arange(c["seq"], device=device).float(), frequencies).repeat(1, 2)
    return angles.cos().to(torch.bfloat16), angles.sin().to(torch.bfloat16)


def main():
    c = json.load(sys.stdin)
    device = torch.device("cuda")
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with device:
        model = Llama(c)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    cos, sin = tables(c, device)
    run = torch.compile(model) if c["compile"] else model
    tokens, targets = torch.randint(0, c["vocabulary"], (2, c["batch"], c["seq"]), device=device)
    ends = []
    for i in range(c["warmup"] + c["steps"]):
        if i == c["warmup"]:
            torch.cuda.reset_peak_memory_stats()
        loss = run(tokens, targets, cos, sin)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        ends.append(torch.cuda.Event(enable_timing=True))
        ends[-1].record()
    torch.cuda.synchronize()
    timed = ends[c["warmup"] - 1 :]
    result = {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "device": torch.cuda.get_device_name(),
        "milliseconds": [a.elapsed_time(b) for a, b in zip(timed, timed[1:])],
        "peakBytes": torch.cuda.max_memory_allocated(),
        "loss": loss.item(),
    }
    print(json.dumps(result))


main()
