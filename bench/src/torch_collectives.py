"""One rank of collectives.ts, in PyTorch: the same all-reduces. Prints milliseconds of each call by size, as JSON."""

import json
import sys
import time

import torch
import torch.distributed as dist

task = json.loads(sys.argv[1])
on_gpu = task["transport"] == "nccl"
torch.set_num_threads(1)
dist.init_process_group("nccl" if on_gpu else "gloo")


def calls_of(size):
    return max(100, min(2000, int(2e6 // size))) if on_gpu else max(8, min(300, int(2e5 // size)))


def timed(call, count):
    """Milliseconds of each call. GPU calls are queued without waiting for one another: their mean, once for each."""
    for _ in range(5 + (count if on_gpu else 0)):
        call()
    if on_gpu:
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(count):
            call()
        torch.cuda.synchronize()
        return [(time.perf_counter() - start) * 1e3 / count] * count
    times = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return times


timings = {}
for size in task["sizes"]:
    x = torch.zeros(size * 256, device="cuda" if on_gpu else "cpu")
    timings[size] = timed(lambda: dist.all_reduce(x), calls_of(size))
if dist.get_rank() == 0:
    print(json.dumps(timings))
dist.destroy_process_group()
