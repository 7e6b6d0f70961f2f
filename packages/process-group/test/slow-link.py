"""A link between two network namespaces that delays every packet and loses some: netem, where the kernel has none.

    slow-link.py NAMESPACE ADDRESS NAMESPACE ADDRESS DELAY LOSS    ms, and a share of 1; both hold in each direction

Each namespace gets a TUN device: packets that are sent into it come out here, as reads of a file, and what is written
here arrives there. Prints 'ready', and forwards until its stdin is closed; the devices go with it.
"""

import collections
import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 1, 0x1000  # whole IP packets, nothing before them


def open_tun(name: str, namespace: str, address: str) -> int:
    """A TUN device in the namespace, with an address of a /24 and packets of 1500 bytes."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    subprocess.run(["ip", "link", "set", name, "netns", namespace], check=True)
    for words in (["address", "add", f"{address}/24", "dev", name], ["link", "set", name, "txqueuelen", "10000", "up"]):
        subprocess.run(["ip", "-n", namespace, *words], check=True)
    return device


def forward(ends: list[int], delay: float, loss: float) -> None:
    chance = random.Random(1)
    under_way = {end: collections.deque() for end in ends}  # packets to this end, and when they arrive
    other = dict(zip(ends, reversed(ends)))
    while True:
        due = [queue[0][0] for queue in under_way.values() if queue]
        wait = max(0.0, min(due) - time.monotonic()) if due else None
        readable = select.select([sys.stdin, *ends], [], [], wait)[0]
        if sys.stdin in readable:
            return
        for end in readable:
            packet = os.read(end, 65536)
            if chance.random() >= loss:
                under_way[other[end]].append((time.monotonic() + delay, packet))
        for end, queue in under_way.items():
            while queue and queue[0][0] <= time.monotonic():
                os.write(end, queue.popleft()[1])


first, first_address, second, second_address, delay_ms, loss_share = sys.argv[1:]
tuns = [open_tun("slow0", first, first_address), open_tun("slow1", second, second_address)]
print("ready", flush=True)
forward(tuns, float(delay_ms) / 1000, float(loss_share))
