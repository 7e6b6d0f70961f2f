/**
 * NCCL, opened when it is first asked for (libnccl.so.2).
 *
 * Its header is not needed to compile this: the few types and functions that are used stand here, under the names that
 * NVIDIA's documentation gives them (NCCL 2.18 and later). Structures differ from the library's own only in what nobody
 * looks into.
 */
#pragma once
#include <cstddef>
#include <string>

#include "../gpu/driver.h"

namespace fourfold::nccl {

using namespace gpu;
using gpu::Check;  // beside NCCL's own below

/** By which ranks find each other: one rank draws it, the others are told. */
struct ncclUniqueId {
    char internal[128];
};
using ncclComm_t = void*;
using ncclResult_t = int;
using ncclDataType_t = int;
using ncclRedOp_t = int;

/** Numbers of nccl.h, which need not be there. */
constexpr ncclResult_t ncclSuccess = 0, ncclInProgress = 7;
constexpr ncclDataType_t ncclInt32 = 2, ncclFloat32 = 7, ncclBfloat16 = 9;
constexpr ncclRedOp_t ncclSum = 0, ncclMax = 2, ncclAvg = 4;
constexpr int NCCL_SPLIT_NOCOLOR = -1;

/** Functions of NCCL. Counts are elements; the stream is where the call waits its turn on the GPU. */
struct Nccl {
    ncclResult_t (*ncclGetVersion)(int*);
    ncclResult_t (*ncclGetUniqueId)(ncclUniqueId*);
    ncclResult_t (*ncclCommInitRank)(ncclComm_t*, int size, ncclUniqueId, int rank);
    ncclResult_t (*ncclCommSplit)(ncclComm_t, int color, int key, ncclComm_t*, void* config);
    ncclResult_t (*ncclCommDestroy)(ncclComm_t);
    ncclResult_t (*ncclCommAbort)(ncclComm_t);
    ncclResult_t (*ncclCommCount)(ncclComm_t, int* size);
    ncclResult_t (*ncclCommUserRank)(ncclComm_t, int* rank);
    ncclResult_t (*ncclCommGetAsyncError)(ncclComm_t, ncclResult_t*);
    const char* (*ncclGetErrorString)(ncclResult_t);
    const char* (*ncclGetLastError)(ncclComm_t);
    ncclResult_t (*ncclAllReduce)(const void*, void*, size_t, ncclDataType_t, ncclRedOp_t, ncclComm_t, CUstream);
    ncclResult_t (*ncclAllGather)(const void*, void*, size_t sent, ncclDataType_t, ncclComm_t, CUstream);
    ncclResult_t (*ncclReduceScatter)(const void*, void*, size_t received, ncclDataType_t, ncclRedOp_t, ncclComm_t,
                                      CUstream);
    ncclResult_t (*ncclBroadcast)(const void*, void*, size_t, ncclDataType_t, int root, ncclComm_t, CUstream);
    ncclResult_t (*ncclSend)(const void*, size_t, ncclDataType_t, int peer, ncclComm_t, CUstream);
    ncclResult_t (*ncclRecv)(void*, size_t, ncclDataType_t, int peer, ncclComm_t, CUstream);
    ncclResult_t (*ncclGroupStart)();
    ncclResult_t (*ncclGroupEnd)();
};

/** NCCL; throws Error where it can't be opened. */
const Nccl& nccl();

/** What NCCL says of a result that is no success: its name for it, and what it logged last. */
std::string WordsOf(ncclResult_t, ncclComm_t);

/** Throws Error for any result but success. `comm` may be null. */
void Check(const char* what, ncclResult_t, ncclComm_t comm);

}  // namespace fourfold::nccl
