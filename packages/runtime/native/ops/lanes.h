/**
 * A connection to each of the other ranks, for bytes of which both ends know how many come: no frames, no headers.
 *
 *     one exchange    to every peer its bytes, from every peer the bytes that are due, all at once
 *
 * A layer waits for two exchanges of some hundred bytes, so what counts is how soon a thread learns that they are here.
 * It asks the kernel and goes to sleep in poll(): woken in some microseconds, and while it sleeps the processor is
 * another rank's. (Who asks again and again instead is faster as long as each rank has a core to burn; with four ranks
 * on two cores it keeps the very rank from computing that it waits for.) The sockets never block, so two ranks that
 * send each other more than fits into the kernel's buffers read while they write.
 *
 * Nothing is taken up again after an error: a peer that is gone, or is late, ends the lanes with a sentence.
 */
#pragma once
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "kernel.h"

namespace fourfold {

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0  // macOS: the sockets are told once, by SO_NOSIGPIPE
#endif

/** What goes to a peer and what comes from it, and how much of either is done. */
struct Traffic {
    const uint8_t* send = nullptr;
    size_t to_send = 0;
    uint8_t* receive = nullptr;
    size_t to_receive = 0;
};

class Lanes {
  public:
    /** `sockets[r]` leads to rank r, and is owned from here on; this rank's own is -1. */
    Lanes(int rank, std::vector<int> sockets, std::vector<std::string> names, int timeout_ms)
        : rank_(rank), sockets_(std::move(sockets)), names_(std::move(names)), timeout_ms_(timeout_ms) {
        for (int socket : sockets_) {
            if (socket < 0) continue;
            fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) | O_NONBLOCK);
#ifdef SO_NOSIGPIPE
            const int on = 1;
            setsockopt(socket, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
        }
    }
    ~Lanes() {
        for (int socket : sockets_)
            if (socket >= 0) close(socket);
    }
    Lanes(const Lanes&) = delete;

    int rank() const { return rank_; }
    int size() const { return static_cast<int>(sockets_.size()); }
    int64_t sent() const { return sent_; }
    int64_t received() const { return received_; }
    /** In which exchanges have taken, from their begin to their end. */
    double milliseconds() const { return milliseconds_; }

    /** `traffic[r]` is rank r's. Ends when all is sent and received. */
    absl::Status Exchange(std::vector<Traffic>& traffic) {
        const auto begin = Clock::now();
        if (!failure_.empty()) return absl::UnavailableError(failure_);
        while (failure_.empty() && Advance(traffic)) Sleep(traffic);
        milliseconds_ += std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
        return failure_.empty() ? absl::OkStatus() : absl::UnavailableError(failure_);
    }

  private:
    using Clock = std::chrono::steady_clock;

    const int rank_;
    const std::vector<int> sockets_;
    const std::vector<std::string> names_;
    const int timeout_ms_;
    std::string failure_;
    int64_t sent_ = 0, received_ = 0;
    double milliseconds_ = 0;

    void Fail(int peer, const std::string& why) {
        if (failure_.empty()) failure_ = names_[peer] + " " + why;
    }

    /** Sends and receives what can be at once; whether anything is left to do. */
    bool Advance(std::vector<Traffic>& traffic) {
        bool is_left = false;
        for (int peer = 0; peer < size(); peer++) {
            Traffic& one = traffic[peer];
            while (one.to_send > 0) {
                const size_t moved = Moved(peer, send(sockets_[peer], one.send, one.to_send, MSG_NOSIGNAL));
                if (moved == 0) break;
                one.send += moved;
                one.to_send -= moved;
                sent_ += moved;
            }
            is_left |= one.to_send > 0;
        }
        for (int peer = 0; peer < size(); peer++) {
            Traffic& one = traffic[peer];
            while (one.to_receive > 0) {
                const size_t moved = Moved(peer, recv(sockets_[peer], one.receive, one.to_receive, 0));
                if (moved == 0) break;
                one.receive += moved;
                one.to_receive -= moved;
                received_ += moved;
            }
            is_left |= one.to_receive > 0;
        }
        return is_left;
    }

    /** How many bytes a call of send or recv has moved; if none, whether that is for ever. */
    size_t Moved(int peer, ssize_t bytes) {
        if (bytes > 0) return static_cast<size_t>(bytes);
        const bool is_early = bytes < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
        if (!is_early) Fail(peer, bytes == 0 ? "closed its connection" : std::string("is lost: ") + strerror(errno));
        return 0;
    }

    /** Until a socket that is waited for has something, or room; nothing of either for too long is a failure. */
    void Sleep(const std::vector<Traffic>& traffic) {
        std::vector<pollfd> waits;
        int late = 0;
        for (int peer = 0; peer < size(); peer++) {
            const Traffic& one = traffic[peer];
            const short events = (one.to_receive > 0 ? POLLIN : 0) | (one.to_send > 0 ? POLLOUT : 0);
            if (events == 0) continue;
            waits.push_back({sockets_[peer], events, 0});
            late = peer;
        }
        const int ready = poll(waits.data(), waits.size(), timeout_ms_);
        if (ready == 0) Fail(late, "has not answered for " + std::to_string(timeout_ms_) + " ms");
        if (ready < 0 && errno != EINTR) Fail(late, std::string("can't be waited for: ") + strerror(errno));
    }
};

}  // namespace fourfold
