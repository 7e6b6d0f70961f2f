/**
 * NCCL's groups of ranks, each with a stream of its own, and the collectives that run on them.
 *
 *     compute stream   ── matmul ──┬──────── other work ────────┬── uses the sum ──
 *                               event: x is there         event: the sum is there
 *     the group's stream           └──────── ncclAllReduce ─────┘
 *
 * An op that starts a collective makes the group's stream wait for all that TensorFlow has enqueued so far, and leaves
 * a ticket. Who wants the result makes TensorFlow's stream wait for the ticket. Both are orders to the GPU: no thread
 * of the CPU waits, and what is enqueued between the two runs beside the collective.
 *
 * A ticket holds the tensors. TensorFlow gives memory that it has back to the next op of its own stream, so it must not
 * get any of these back before that stream has waited, or the collective has ended.
 *
 * While times are taken, two more events stand around the collective in the group's stream. They are made for it, and
 * gone when the times have been read; otherwise there are none.
 */
#pragma once
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "nccl.h"

namespace fourfold::nccl {

/** Tensors of any kind, kept alive. */
using Held = std::shared_ptr<void>;

/** What a collective may use while it is enqueued. */
struct Group {
    ncclComm_t comm;
    CUstream stream;
    int rank;
    int size;
};

/** Enqueues NCCL calls on the group's stream; throws Error. */
using Enqueue = std::function<void(const Group&)>;

/** A collective whose end the GPU has not reported yet. */
struct Running {
    int64_t ticket;
    Event end;
    CUstream compute;  // TensorFlow's
    Held held;
    std::string call;  // in words
};

/** A collective whose time is taken. */
struct Timed {
    int64_t ticket = -1;
    Event start{CU_EVENT_DEFAULT}, end{CU_EVENT_DEFAULT};
};

/** When the GPU ran a collective, in milliseconds after the event that times count from. */
struct Time {
    int64_t ticket;
    double start, end;
};

/** A group with what is on its way in it. */
struct Communicator : Group {
    double timeout;                        // seconds that a collective may take once those before it have ended
    Event ready{CU_EVENT_DISABLE_TIMING};  // TensorFlow's stream has come to where the newest collective was started
    std::deque<Running> running;
    int64_t newest = -1;                          // ticket of the collective started last
    int64_t oldest = -1;                          // ticket that was first in `running` when the watch last looked
    std::chrono::steady_clock::time_point since;  // from when on it was
};

/** All communicators of the process. A communicator's number is its place here; tickets count up over all of them. */
class Communicators {
  public:
    /** Joins the group that `id` names, as one of `size` ranks; waits for all of them. Returns its number. */
    int Join(const ncclUniqueId& id, int size, int rank, double timeout);

    /** Groups the ranks of communicator `parent` by color, ordered by key; -1 for a negative color, as NCCL has it. */
    int Split(int parent, int color, int key);

    /** Ends a communicator; `abort` also stops what is running on it. Waits until NCCL has done so. */
    void Close(int number, bool abort);

    /** The communicator's ranks, for ops that must know them to shape their output. Throws where it is closed. */
    Group At(int number);

    /** Starts a collective on `held`'s tensors, after what `compute` has been given so far. */
    void Start(int number, CUstream compute, Held held, const Enqueue& enqueue);

    /** The ticket of the collective started last; `call` says what it is, should it fail. */
    int64_t Ticket(int number, const std::string& call);

    /** Makes TensorFlow's stream wait for a collective from here on, and lets go of its tensors. */
    void Wait(int number, int64_t ticket);

    /** Takes the times of collectives from here on; they count from `base`, which must be there until StopTiming. */
    void StartTiming(CUevent base);

    /** Ends that. The times of all that have ended on the GPU, for which it does not wait. */
    std::vector<Time> StopTiming();

    /** TensorFlow's compute stream; null as long as no collective was started. */
    CUstream Compute();

    /** Lets go of collectives that have ended, and returns what is wrong with the others; '' if nothing is. */
    std::string Look();

  private:
    Communicator& Find(int number);
    int Add(ncclComm_t comm, double timeout);
    Event TakeEvent();
    std::string LookAt(Communicator&);

    std::mutex mutex_;  // JavaScript's thread, the watch and those that join use all that follows
    std::vector<std::unique_ptr<Communicator>> all_;
    std::vector<Event> spare_;
    std::vector<Timed> timed_;
    CUevent base_ = nullptr;  // null: no times are taken
    CUstream compute_ = nullptr;
    int64_t tickets_ = 0;
};

/** The one table of the process. It is never destroyed, since threads may use it to the last. */
Communicators& communicators();

}  // namespace fourfold::nccl
