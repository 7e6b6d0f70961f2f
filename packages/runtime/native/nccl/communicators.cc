/** Joining, splitting and closing communicators; starting collectives on them, waiting for them, and watching them. */
#include "communicators.h"

#include <stdio.h>

#include <chrono>
#include <optional>
#include <thread>
#include <utility>

namespace fourfold::nccl {

using Clock = std::chrono::steady_clock;

/** Those of the process. They are never destroyed: the driver may be gone by then. */
Communicators& communicators() {
    static Communicators* const table = new Communicators;
    return *table;
}

/** By a clock that never goes back. */
static double SecondsSince(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

/** "600 s", for messages. */
static std::string InSeconds(double timeout) {
    char text[32];
    snprintf(text, sizeof text, "%g s", timeout);
    return text;
}

/** Waits until the GPU has done all that was enqueued on `stream`. On no thread that anybody waits for. */
static void Drain(CUstream stream, double timeout) {
    const Clock::time_point start = Clock::now();
    CUresult state;
    while ((state = driver().cuStreamQuery(stream)) == CUDA_ERROR_NOT_READY) {
        if (SecondsSince(start) > timeout) throw Error("the last exchange did not end within " + InSeconds(timeout));
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    Check("the last exchange", state);
}

// ## Joining

// NCCL makes connections for messages between two ranks, and loads some of its code, at the first call that needs them,
// and keeps the caller waiting. So each new communicator is used once for everything, here, where nobody waits.
static void UseOnce(const Group& group, float* x, double timeout) {
    const Nccl& n = nccl();
    Check("ncclAllReduce", n.ncclAllReduce(x, x, 1, ncclFloat32, ncclSum, group.comm, group.stream), group.comm);
    Check("ncclGroupStart", n.ncclGroupStart(), group.comm);
    for (int peer = 0; peer < group.size; peer++) {
        if (peer == group.rank) continue;
        Check("ncclSend", n.ncclSend(x, 1, ncclFloat32, peer, group.comm, group.stream), group.comm);
        Check("ncclRecv", n.ncclRecv(x + 1 + peer, 1, ncclFloat32, peer, group.comm, group.stream), group.comm);
    }
    Check("ncclGroupEnd", n.ncclGroupEnd(), group.comm);
    Drain(group.stream, timeout);
}

/** Waits until all ranks are there, so it runs in a thread of its own. */
int Communicators::Join(const ncclUniqueId& id, int size, int rank, double timeout) {
    InContext context;
    ncclComm_t comm = nullptr;
    Check("ncclCommInitRank", nccl().ncclCommInitRank(&comm, size, id, rank), comm);
    return Add(comm, timeout);
}

/** NCCL's own split: ranks of one colour become a group, in the order of their keys. -1 where this rank is in none. */
int Communicators::Split(int parent, int color, int key) {
    InContext context;
    ncclComm_t from, comm = nullptr;
    double timeout;
    {
        std::lock_guard<std::mutex> lock(mutex_);
        from = Find(parent).comm;
        timeout = Find(parent).timeout;
    }
    const int group = color < 0 ? NCCL_SPLIT_NOCOLOR : color;
    Check("ncclCommSplit", nccl().ncclCommSplit(from, group, key, &comm, nullptr), from);
    return comm == nullptr ? -1 : Add(comm, timeout);
}

/** A stream of its own for each group: collectives of different groups may overlap, those of one follow one another. */
int Communicators::Add(ncclComm_t comm, double timeout) {
    auto made = std::make_unique<Communicator>();
    made->comm = comm;
    made->timeout = timeout;
    Check("ncclCommCount", nccl().ncclCommCount(comm, &made->size), comm);
    Check("ncclCommUserRank", nccl().ncclCommUserRank(comm, &made->rank), comm);
    int least, greatest;
    Check("cuCtxGetStreamPriorityRange", driver().cuCtxGetStreamPriorityRange(&least, &greatest));
    // Highest priority: a collective's few blocks get their place on the GPU before the next thousands of a matmul.
    const CUresult stream = driver().cuStreamCreateWithPriority(&made->stream, CU_STREAM_NON_BLOCKING, greatest);
    Check("cuStreamCreateWithPriority", stream);

    CUdeviceptr x;  // one number to send, and a place for each rank's
    Check("cuMemAlloc", driver().cuMemAlloc_v2(&x, (made->size + 1) * sizeof(float)));
    UseOnce(*made, reinterpret_cast<float*>(x), timeout);
    Check("cuMemFree", driver().cuMemFree_v2(x));

    std::lock_guard<std::mutex> lock(mutex_);
    all_.push_back(std::move(made));
    return static_cast<int>(all_.size()) - 1;
}

/** In peace after the last collective; by force where a peer is lost, whose collective would never end. */
void Communicators::Close(int number, bool abort) {
    InContext context;
    std::unique_ptr<Communicator> closed;
    {
        std::lock_guard<std::mutex> lock(mutex_);
        Find(number);
        closed = std::move(all_[number]);
    }
    const ncclComm_t comm = closed->comm;
    if (abort) {
        Check("ncclCommAbort", nccl().ncclCommAbort(comm), nullptr);
    } else {
        Drain(closed->stream, closed->timeout);
        Check("ncclCommDestroy", nccl().ncclCommDestroy(comm), nullptr);
    }
    driver().cuStreamDestroy_v2(closed->stream);
}

// ## Collectives

/** By its number; the lock is held. */
Communicator& Communicators::Find(int number) {
    if (number < 0 || number >= static_cast<int>(all_.size()) || all_[number] == nullptr)
        throw Error("there is no communicator " + std::to_string(number));
    return *all_[number];
}

/** The same for who has no lock. */
Group Communicators::At(int number) {
    std::lock_guard<std::mutex> lock(mutex_);
    return Find(number);
}

/** One that is free, or a new one. */
Event Communicators::TakeEvent() {
    if (spare_.empty()) return Event(CU_EVENT_DISABLE_TIMING);
    Event event = std::move(spare_.back());
    spare_.pop_back();
    return event;
}

/**
 * The group's stream waits for the tensors to be there, then runs the collective. Neither the host nor the compute
 * stream waits: the tensors are held until somebody does, or the watch sees the end.
 */
void Communicators::Start(int number, CUstream compute, Held held, const Enqueue& enqueue) {
    std::unique_lock<std::mutex> lock(mutex_);
    const Group group = Find(number);
    Event end = TakeEvent();
    compute_ = compute;
    // A stream that was told to wait for an event waits for its last recording, so `ready` can be recorded anew for
    // the next collective.
    Find(number).ready.Record(compute);
    Find(number).ready.Await(group.stream);
    std::optional<Timed> timed;
    if (base_ != nullptr) timed.emplace();
    lock.unlock();  // should NCCL not return, the watch can still say so
    if (timed) timed->start.Record(group.stream);
    enqueue(group);
    if (timed) timed->end.Record(group.stream);
    end.Record(group.stream);

    lock.lock();
    Communicator& communicator = Find(number);
    communicator.newest = tickets_++;
    communicator.running.push_back({communicator.newest, std::move(end), compute, std::move(held), ""});
    if (!timed) return;
    timed->ticket = communicator.newest;
    timed_.push_back(std::move(*timed));
}

/** The number of the collective started last, and what to call it in messages. */
int64_t Communicators::Ticket(int number, const std::string& call) {
    std::lock_guard<std::mutex> lock(mutex_);
    Communicator& communicator = Find(number);
    std::deque<Running>& running = communicator.running;
    if (!running.empty() && running.back().ticket == communicator.newest) running.back().call = call;
    return communicator.newest;
}

/** The compute stream waits for the collective's end; the host goes on. */
void Communicators::Wait(int number, int64_t ticket) {
    InContext context;
    std::lock_guard<std::mutex> lock(mutex_);
    for (Running& running : Find(number).running) {
        if (running.ticket != ticket) continue;
        running.end.Await(running.compute);
        running.held.reset();
        return;
    }
    // Not there: the GPU has done it already, and there is nothing to wait for.
}

/** TensorFlow's stream. */
CUstream Communicators::Compute() {
    std::lock_guard<std::mutex> lock(mutex_);
    return compute_;
}

// ## Times

/** From here on every collective has an event before and after it. */
void Communicators::StartTiming(CUevent base) {
    if (base == nullptr) throw Error("a mark is needed, from which times count");
    std::lock_guard<std::mutex> lock(mutex_);
    base_ = base;
}

/** The times of those that have ended. */
std::vector<Time> Communicators::StopTiming() {
    InContext context;
    std::lock_guard<std::mutex> lock(mutex_);
    const CUevent base = std::exchange(base_, nullptr);
    const std::vector<Timed> timed = std::exchange(timed_, {});
    std::vector<Time> times;
    for (const Timed& one : timed)
        if (one.end.Query() == 0) times.push_back({one.ticket, one.start.After(base), one.end.After(base)});
    return times;
}

// ## Watching

/** The first trouble that there is, in a sentence; "" where all is well. */
std::string Communicators::Look() {
    std::lock_guard<std::mutex> lock(mutex_);
    for (const std::unique_ptr<Communicator>& communicator : all_) {
        if (communicator == nullptr) continue;
        const std::string trouble = LookAt(*communicator);
        if (!trouble.empty()) return trouble;
    }
    return "";
}

/** Lets go of what has ended; then NCCL's own word, and how long the oldest has run. */
std::string Communicators::LookAt(Communicator& c) {
    while (!c.running.empty()) {
        const CUresult state = c.running.front().end.Query();
        if (state == CUDA_ERROR_NOT_READY || state == CUDA_ERROR_DEINITIALIZED) break;  // the latter: exit() has begun
        const std::string call = c.running.front().call;
        if (state != 0) {
            try {
                Check("it", state);
            } catch (const Error& error) {
                return call + ": " + error.what();
            }
        }
        spare_.push_back(std::move(c.running.front().end));
        c.running.pop_front();
    }
    const std::string call = c.running.empty() ? "between two collectives" : c.running.front().call;
    ncclResult_t state = ncclSuccess;
    nccl().ncclCommGetAsyncError(c.comm, &state);
    if (state != ncclSuccess && state != ncclInProgress) return call + ": NCCL says: " + WordsOf(state, c.comm);

    const int64_t oldest = c.running.empty() ? -1 : c.running.front().ticket;
    if (oldest != c.oldest) c.since = Clock::now();
    c.oldest = oldest;
    if (oldest < 0 || SecondsSince(c.since) < c.timeout) return "";
    return call + ": not ended within " + InSeconds(c.timeout) + ", so a rank is missing";
}

}  // namespace fourfold::nccl
