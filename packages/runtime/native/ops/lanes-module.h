/**
 * Lanes for JavaScript, which connects the sockets and proves who is at their other ends before it hands them over.
 *
 *   openLanes(rank, sockets, names, format, timeoutMs) -> number     sockets: descriptors by rank, copied; its own: -1
 *   closeLanes(number)
 *   gatherLanes(number, bytes, lengths) -> Uint8Array[]              all ranks' bytes, at rank 0; elsewhere none
 *   lanesCost(number) -> [sent, received, milliseconds]              since they were opened
 */
#pragma once
#include "bytes.h"
#include "sum-over-ranks.h"

namespace fourfold {

static std::vector<napi_value> ElementsOf(napi_env env, napi_value array) {
    uint32_t length = 0;
    napi_get_array_length(env, array, &length);
    std::vector<napi_value> elements(length);
    for (uint32_t i = 0; i < length; i++) napi_get_element(env, array, i, &elements[i]);
    return elements;
}

static std::string TextOf(napi_env env, napi_value value) {
    char text[256] = "";
    size_t length = 0;
    napi_get_value_string_utf8(env, value, text, sizeof text, &length);
    return std::string(text, length);
}

template <size_t N>
static bool ReadArguments(napi_env env, napi_callback_info info, napi_value (&arguments)[N]) {
    size_t count = N;
    return napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr) == napi_ok && count == N;
}

static napi_value OpenLanesFor(napi_env env, napi_callback_info info) {
    napi_value arguments[5], number;
    const bool is_called_right = ReadArguments(env, info, arguments);
    if (!is_called_right) return Throw(env, "openLanes takes rank, sockets, names, format and time-out");
    std::vector<int> sockets;
    for (napi_value socket : ElementsOf(env, arguments[1])) {
        const int descriptor = IntOf(env, socket);
        sockets.push_back(descriptor < 0 ? -1 : fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
    }
    std::vector<std::string> names;
    for (napi_value name : ElementsOf(env, arguments[2])) names.push_back(TextOf(env, name));
    const int rank = IntOf(env, arguments[0]), format = IntOf(env, arguments[3]);
    const int n = static_cast<int>(sockets.size());
    if (static_cast<int>(names.size()) != n || rank < 0 || rank >= n || format < 0 || format > 2)
        return Throw(env, "openLanes: ranks, sockets, names and format don't fit together");
    open_lanes.push_back({std::make_unique<Lanes>(rank, sockets, names, IntOf(env, arguments[4])),
                          static_cast<TransferFormat>(format)});
    napi_create_int32(env, static_cast<int32_t>(open_lanes.size() - 1), &number);
    return number;
}

static napi_value CloseLanes(napi_env env, napi_callback_info info) {
    napi_value arguments[1];
    if (!ReadArguments(env, info, arguments)) return Throw(env, "closeLanes takes a number of openLanes");
    if (OpenLanes* open = LanesAt(IntOf(env, arguments[0]))) open->lanes.reset();
    return nullptr;
}

static napi_value GatherLanes(napi_env env, napi_callback_info info) {
    napi_value arguments[3], result;
    OpenLanes* open = ReadArguments(env, info, arguments) ? LanesAt(IntOf(env, arguments[0])) : nullptr;
    if (open == nullptr) return Throw(env, "the lanes to the other ranks are closed");
    Lanes& lanes = *open->lanes;
    size_t bytes = SIZE_MAX;
    void* own = BytesOf(env, arguments[1], &bytes);
    const std::vector<napi_value> lengths = ElementsOf(env, arguments[2]);
    const int n = lanes.size();
    if (own == nullptr && bytes != 0) return Throw(env, "gatherLanes takes the bytes of this rank");
    if (static_cast<int>(lengths.size()) != n) return Throw(env, "gatherLanes takes the length of every rank's bytes");
    std::vector<Traffic> traffic(n);
    napi_create_array_with_length(env, lanes.rank() == 0 ? n : 0, &result);
    if (lanes.rank() != 0) traffic[0] = {static_cast<uint8_t*>(own), bytes, nullptr, 0};
    for (int rank = 0; lanes.rank() == 0 && rank < n; rank++) {
        const size_t length = rank == 0 ? bytes : static_cast<size_t>(std::max(0, IntOf(env, lengths[rank])));
        napi_value buffer, view;
        void* data = nullptr;
        if (napi_create_arraybuffer(env, length, &data, &buffer) != napi_ok) return nullptr;
        napi_create_typedarray(env, napi_uint8_array, length, buffer, 0, &view);
        napi_set_element(env, result, rank, view);
        if (rank > 0) traffic[rank] = {nullptr, 0, static_cast<uint8_t*>(data), length};
        else if (length > 0) std::memcpy(data, own, length);
    }
    const absl::Status status = lanes.Exchange(traffic);
    return status.ok() ? result : Throw(env, std::string(status.message()).c_str());
}

static napi_value LanesCost(napi_env env, napi_callback_info info) {
    napi_value arguments[1], result;
    OpenLanes* open = ReadArguments(env, info, arguments) ? LanesAt(IntOf(env, arguments[0])) : nullptr;
    if (open == nullptr) return Throw(env, "the lanes to the other ranks are closed");
    const Lanes& lanes = *open->lanes;
    const int64_t sent = lanes.sent(), received = lanes.received();
    const double cost[] = {static_cast<double>(sent), static_cast<double>(received), lanes.milliseconds()};
    napi_create_array_with_length(env, 3, &result);
    for (uint32_t i = 0; i < 3; i++) {
        napi_value number;
        napi_create_double(env, cost[i], &number);
        napi_set_element(env, result, i, number);
    }
    return result;
}

static void ExportLanes(napi_env env, napi_value exports) {
    Export(env, exports, "openLanes", OpenLanesFor);
    Export(env, exports, "closeLanes", CloseLanes);
    Export(env, exports, "gatherLanes", GatherLanes);
    Export(env, exports, "lanesCost", LanesCost);
}

}  // namespace fourfold
