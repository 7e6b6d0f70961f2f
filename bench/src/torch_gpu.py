"""A Llama training step in PyTorch, as its users write it: bfloat16 weights, fused attention, fused AdamW.

Reads one JSON object from its argument, or without one from stdin, {layers, dim, heads, kvHeads, ffn, vocabulary, tied,
theta, batch, seq, warmup, steps, recompute, compile}, and writes {"version", "cuda", "device", "milliseconds": [...],
"peakBytes", "loss"} to stdout. Times are the GPU's, from the end of one step to the end of the next. bench/src/gpu.ts
runs it on one GPU; bench/src/torch-ranks.ts on several by torchrun, with DistributedDataParallel: the first rank
writes, of each step the slowest rank's time.
"""

import json
import os
import sys

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel
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
    c = json.loads(sys.argv[1]) if len(sys.argv) > 1 else json.load(sys.stdin)
    rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    torch.cuda.set_device(device)
    if ranks > 1:
        dist.init_process_group("nccl", device_id=device)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with device:
        model = Llama(c)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    cos, sin = tables(c, device)
    run = DistributedDataParallel(model, gradient_as_bucket_view=True) if ranks > 1 else model
    run = torch.compile(run) if c["compile"] else run
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
    figures = [a.elapsed_time(b) for a, b in zip(timed, timed[1:])] + [float(torch.cuda.max_memory_allocated())]
    figures = torch.tensor(figures, dtype=torch.float64, device=device)
    if ranks > 1:
        dist.all_reduce(figures, dist.ReduceOp.MAX)
        dist.destroy_process_group()
    *milliseconds, peak = figures.tolist()
    result = {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "device": torch.cuda.get_device_name(),
        "milliseconds": milliseconds,
        "peakBytes": int(peak),
        "loss": loss.item(),
    }
    if rank == 0:
        print(json.dumps(result))


main()
