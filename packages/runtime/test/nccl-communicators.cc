/**
 * Starts collectives as TensorFlow's ops do (native/nccl/communicators.h), against nvidia-imitation.cc, which says what
 * comes of it. What the program itself says begins with "#".
 */
#include <cstdio>
#include <string>

#include "../native/nccl/communicators.h"

using namespace fourfold::gpu;
using fourfold::nccl::Communicators;
using fourfold::nccl::Group;

extern "C" {
CUstream imitation_stream();
void imitation_work(CUstream, float milliseconds);
void imitation_unfinished(CUevent);
extern CUevent imitation_newest;
int imitation_events();
}

static Communicators& table = fourfold::nccl::communicators();

/** Whether somebody holds a tensor: it says when nobody does any more. */
static std::shared_ptr<void> Tensor(const char* name) {
    return std::shared_ptr<void>(nullptr, [name](void*) { printf("# %s is free\n", name); });
}

static int64_t AllReduce(int comm, CUstream compute, const char* name) {
    table.Start(comm, compute, Tensor(name), [](const Group& g) {
        const int result = fourfold::nccl::nccl().ncclAllReduce(nullptr, nullptr, 5, 7, 0, g.comm, g.stream);
        fourfold::nccl::Check("ncclAllReduce", result, g.comm);
    });
    return table.Ticket(comm, name);
}

static void Times() {
    for (const auto& time : table.StopTiming())
        printf("# ticket %d from %g to %g\n", static_cast<int>(time.ticket), time.start, time.end);
    printf("# %d events\n", imitation_events());
}

int main() {
    const CUstream compute = imitation_stream();
    const int comm = table.Join({}, 2, 0, 60);
    printf("# untimed, %d events\n", imitation_events());
    const int64_t untimed = AllReduce(comm, compute, "x");
    table.Wait(comm, untimed);
    Times();
    {
        const Event base(CU_EVENT_DEFAULT);
        imitation_work(compute, 100);
        base.Record(compute);
        table.StartTiming(base.Handle());
        printf("# timed\n");
        imitation_work(compute, 5);
        const int64_t first = AllReduce(comm, compute, "y");
        imitation_work(compute, 2);
        const int64_t second = AllReduce(comm, compute, "z");
        table.Wait(comm, second);
        table.Wait(comm, first);
        AllReduce(comm, compute, "w");
        imitation_unfinished(imitation_newest);
        Times();
    }
    try {
        table.StartTiming(nullptr);
    } catch (const Error& error) {
        printf("# %s\n", error.what());
    }
    printf("# looks%s\n", table.Look().c_str());
    AllReduce(comm, compute, "v");
    table.Close(comm, false);
    printf("# closed, %d events\n", imitation_events());
}
