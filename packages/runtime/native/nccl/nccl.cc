/** Opens NCCL and turns its error codes into words. */
#include "nccl.h"

#include <stdlib.h>

namespace fourfold::nccl {

// Since 2.22 NCCL connects to peers when an algorithm is first used, in the middle of training and with the caller
// waiting: whoever calls it here is JavaScript's thread. With NCCL_RUNTIME_CONNECT=0 it does so while ranks join.
static Nccl OpenNccl() {
    setenv("NCCL_RUNTIME_CONNECT", "0", /*overwrite=*/0);
    void* library = Open({"libnccl.so.2"});
    Nccl f;
    FIND(ncclGetVersion);
    FIND(ncclGetUniqueId);
    FIND(ncclCommInitRank);
    FIND(ncclCommSplit);
    FIND(ncclCommDestroy);
    FIND(ncclCommAbort);
    FIND(ncclCommCount);
    FIND(ncclCommUserRank);
    FIND(ncclCommGetAsyncError);
    FIND(ncclGetErrorString);
    FIND(ncclGetLastError);
    FIND(ncclAllReduce);
    FIND(ncclAllGather);
    FIND(ncclReduceScatter);
    FIND(ncclBroadcast);
    FIND(ncclSend);
    FIND(ncclRecv);
    FIND(ncclGroupStart);
    FIND(ncclGroupEnd);
    return f;
}

/** Opened at the first call. */
const Nccl& nccl() {
    static const Nccl functions = OpenNccl();
    return functions;
}

/** NCCL's words for a result, and its last error in detail. */
std::string WordsOf(ncclResult_t result, ncclComm_t comm) {
    const std::string last = nccl().ncclGetLastError(comm);
    return nccl().ncclGetErrorString(result) + (last.empty() ? "" : " (" + last + ")");
}

/** Throws them, with the name of the call. */
void Check(const char* what, ncclResult_t result, ncclComm_t comm) {
    if (result != ncclSuccess) throw Error(std::string("NCCL says of ") + what + ": " + WordsOf(result, comm));
}

}  // namespace fourfold::nccl
