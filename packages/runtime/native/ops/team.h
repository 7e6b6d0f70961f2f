/**
 * A few threads for work in pieces of some microseconds, of which a token needs hundreds.
 *
 * TensorFlow's threads go to sleep between pieces, and to be woken takes longer than a small product. These stay awake
 * for a moment after each piece, since the next one is near, and then sleep too: a server without requests, or a rank
 * that waits for another's sum, takes nobody's processor for longer. Whoever asks for work takes part in it, and needs
 * not wait for a thread that comes too late to find any.
 *
 *     ForParts(ctx, rows, cycles, work)      work(first, last) for parts of 0..rows, on as many threads as TensorFlow's
 */
#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "kernel.h"
#include "tensorflow/core/platform/denormal.h"

namespace fourfold {

inline void Pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

class Team {
  public:
    using Work = std::function<void(int64_t, int64_t)>;

    explicit Team(int threads) {
        for (int i = 1; i < threads; i++) std::thread([this] { Help(); }).detach();
        threads_ = threads;
    }
    Team(const Team&) = delete;

    /** Calls work for parts of 0..rows, and returns when all are done. */
    void Run(int64_t rows, const Work& work) {
        const std::lock_guard<std::mutex> one_at_a_time(running_);
        work_ = &work;
        rows_ = rows;
        part_ = std::max<int64_t>(1, rows / (4 * threads_));
        next_.store(0);
        open_.store(true);
        job_.fetch_add(1);
        if (asleep_.load() > 0) {
            const std::lock_guard<std::mutex> lock(sleep_);
            wake_.notify_all();
        }
        TakePart();
        open_.store(false);
        while (inside_.load() > 0) Pause();  // a part that somebody is at
    }

    /** The process's team of so many. It is never destroyed, for its threads know it to the last. */
    static Team& Of(int threads) {
        static std::mutex mutex;
        static auto* const teams = new std::vector<std::unique_ptr<Team>>;
        const std::lock_guard<std::mutex> lock(mutex);
        for (const auto& team : *teams)
            if (team->threads_ == threads) return *team;
        teams->push_back(std::make_unique<Team>(threads));
        return *teams->back();
    }

  private:
    int threads_ = 1;
    std::mutex running_, sleep_;
    std::condition_variable wake_;
    const Work* work_ = nullptr;
    int64_t rows_ = 0, part_ = 1;
    std::atomic<int64_t> next_{0}, job_{0};
    std::atomic<int> inside_{0}, asleep_{0};
    std::atomic<bool> open_{false};

    void TakePart() {
        for (int64_t first; (first = next_.fetch_add(part_)) < rows_;) (*work_)(first, std::min(first + part_, rows_));
    }

    /** A helper's life. Who is inside keeps the job from ending, and only while it is open may one go inside. */
    void Help() {
        tensorflow::port::ScopedFlushDenormal flush;  // as TensorFlow's threads do: the same bits on all
        for (int64_t seen = 0;;) {
            seen = Await(seen);
            inside_.fetch_add(1);
            if (open_.load()) TakePart();
            inside_.fetch_sub(1);
        }
    }

    /** The number of a job after `seen`: awake for a moment, then asleep. */
    int64_t Await(int64_t seen) {
        constexpr std::chrono::microseconds kAwake(100);
        const auto begin = std::chrono::steady_clock::now();
        do {
            for (int i = 0; i < 64; i++, Pause())
                if (job_.load() != seen) return job_.load();
        } while (std::chrono::steady_clock::now() - begin < kAwake);
        std::unique_lock<std::mutex> lock(sleep_);
        asleep_.fetch_add(1);
        wake_.wait(lock, [&] { return job_.load() != seen; });
        asleep_.fetch_sub(1);
        return job_.load();
    }
};

/** work(first, last) for parts of 0..rows, each of which costs about `cycles`: at once, where that is little. */
template <class Work>
void ForParts(OpKernelContext* ctx, int64_t rows, int64_t cycles, Work work) {
    constexpr int64_t kWorthwhile = 20000;  // cycles: some microseconds
    const int threads = ctx->device()->tensorflow_cpu_worker_threads()->num_threads;
    if (rows == 0) return;
    if (threads < 2 || rows < 2 || rows * cycles < kWorthwhile) return work(0, rows);
    Team::Of(threads).Run(rows, work);
}

}  // namespace fourfold
